"""A network's labels made whole: voxel for voxel as lungmask has it."""

import numpy as np
import pytest
from lungmask import utils
from scipy import ndimage

from covnode.infer.label_parts import in_one_piece


def scattered(smoothness, seed):
    """Labels of three fields of noise: many parts of each label, some within others."""
    draw = np.random.default_rng(seed)
    fields = np.stack([ndimage.gaussian_filter(draw.normal(size=(10, 48, 52)), smoothness) for _ in range(3)])
    fields[0] += 0.3 * fields.std()
    labels = fields.argmax(axis=0).astype(np.uint8)
    # At the edges of a volume lungmask's fill_voids takes some of the outside for a hole.
    labels[:, 0] = labels[:, -1] = labels[:, :, 0] = labels[:, :, -1] = 0
    return labels


@pytest.mark.parametrize("smoothness", [0.7, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_scattered_parts_go_where_lungmask_puts_them(smoothness, seed):
    labels = scattered(smoothness, seed)
    np.testing.assert_array_equal(in_one_piece(labels), utils.postprocessing(labels.copy(), disable_tqdm=True))


def test_an_island_of_the_other_lung_goes_to_the_lung_around_it_and_a_hole_is_filled():
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[1:8, 5:35, 3:18] = 1
    labels[1:8, 5:35, 22:37] = 2
    whole = labels.copy()
    labels[3:5, 10:13, 8:11] = 2
    labels[4:6, 20:22, 28:30] = 0
    np.testing.assert_array_equal(in_one_piece(labels), whole)


def test_no_lung_stays_none():
    assert not in_one_piece(np.zeros((3, 8, 8), np.uint8)).any()
