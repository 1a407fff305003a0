"""What the network of slices sees, and where its answer goes: bit for bit as lungmask has it."""

import numpy as np
import pytest
from lungmask import utils
from phantom_cases import phantom_ct

from covnode.infer.slice_crops import SIDE, body_boxes, cut_out, put_back

AIR = -1000


def slices(rows=180, columns=180):
    """Slices of a chest on a matrix of that size, some of it outside the field of view."""
    hu = phantom_ct("covid-mild").voxels_hu[20:26]
    middle = hu.shape[1] // 2
    cut = hu[:, middle - rows // 2 : middle - rows // 2 + rows, middle - columns // 2 : middle - columns // 2 + columns]
    return np.ascontiguousarray(cut)


def noise(shape):
    return np.random.default_rng(3).normal(-500, 400, shape).astype(np.int16)


@pytest.mark.parametrize(
    "voxels_hu",
    [slices(), slices(161, 177), noise((3, 200, 150)), noise((2, 97, 64)), np.full((2, 130, 130), AIR, np.int16)],
    ids=["square", "odd matrix", "noise", "smaller than the mask of the body", "nobody"],
)
def test_it_cuts_and_puts_back_as_lungmask_does(voxels_hu):
    expected, boxes = utils.preprocess(voxels_hu, resolution=[SIDE, SIDE])
    ours, our_boxes = cut_out(voxels_hu)
    np.testing.assert_array_equal(our_boxes, np.array(boxes))
    np.testing.assert_array_equal(ours, ((expected + 1024) / 1624).astype(np.float32))
    labels = np.random.default_rng(1).integers(0, 3, ours.shape).astype(np.uint8)
    back = [utils.reshape_mask(one, box, voxels_hu.shape[1:]) for one, box in zip(labels, boxes, strict=True)]
    np.testing.assert_array_equal(put_back(labels, our_boxes, voxels_hu.shape), np.array(back))


def test_the_box_of_a_body_leaves_the_air_around_it_out():
    voxels_hu = np.full((1, 256, 256), AIR, np.int16)
    voxels_hu[0, 60:200, 40:220] = 40
    ((top, left, bottom, right),) = body_boxes(voxels_hu)
    assert np.abs(np.array([top, left, bottom, right]) - (60, 40, 200, 220)).max() <= 4
