from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covnode.imaging.resampling import network_input, resample_lungs
from covnode.imaging.upright import UprightStack, lesions_upright, lungs_upright
from covnode.records.result import Acquisition, ModelIdentity
from covnode.records.volume import AIR_HU, CTVolume, InPlane, LesionMask, LungMask, SourceFrame

MODEL = ModelIdentity(name="m", version="1", task="lungs", sha256=None, training_data="none", demonstration=False)
SLICES, ROWS, COLUMNS = 9, 40, 36
SPACING_MM = (3.0, 0.8, 0.7)
IN_PLANE = InPlane(transpose=False, flip_j=False, flip_i=False)


def volume_leaning(by_j_mm=0.0, by_i_mm=0.0):
    """Noise on an oblique grid whose slices each lie beside the one below, in mm along j and i."""
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    steps = np.array([[0.7, 0.0, by_i_mm], [0.0, 0.8, by_j_mm], [0.0, 0.0, 3.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ steps, (-31.0, -180.0, -800.0)
    voxels = np.random.default_rng(1).integers(-900, 200, (SLICES, ROWS, COLUMNS), dtype=np.int16)
    frames = tuple(SourceFrame(Path(f"{k}.dcm"), "1.2", f"1.2.{k}", None, 3.0 * k) for k in range(SLICES))
    return CTVolume(voxels, affine, SPACING_MM, frames, IN_PLANE, Acquisition())


LEANS = [(1.1, 0.0), (-0.9, 0.0), (0.0, 0.75), (0.6, -1.3)]


@pytest.mark.parametrize("lean", LEANS)
def test_every_voxel_lies_within_half_a_pixel_of_its_place(lean):
    volume = volume_leaning(*lean)
    stack = UprightStack(volume)
    numbers = np.arange(volume.voxels_hu.size, dtype=np.int64).reshape(volume.voxels_hu.shape)
    k, j, i = np.nonzero(stack.moved(numbers, -1) >= 0)
    moved = stack.moved(numbers, -1)[k, j, i]
    np.testing.assert_array_equal(np.sort(moved), numbers.ravel())
    stored_k, stored_j, stored_i = np.unravel_index(moved, volume.voxels_hu.shape)
    ones = np.ones_like(k)
    upright_mm = stack.volume.affine_lps_mm[:3] @ [i, j, k, ones]
    stored_mm = volume.affine_lps_mm[:3] @ [stored_i, stored_j, stored_k, ones]
    off = np.linalg.inv(volume.affine_lps_mm[:3, :3]) @ (upright_mm - stored_mm)
    assert np.abs(off).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(stack.volume.voxels_hu[k, j, i], volume.voxels_hu[stored_k, stored_j, stored_i])
    assert np.count_nonzero(stack.volume.voxels_hu == AIR_HU) == stack.volume.voxels_hu.size - volume.voxels_hu.size


@pytest.mark.parametrize("lean", LEANS)
def test_the_upright_grid_has_no_shear_and_the_same_voxels(lean):
    volume = volume_leaning(*lean)
    axes = UprightStack(volume).volume.affine_lps_mm[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.diag(lengths**2), atol=1e-9)
    np.testing.assert_allclose(lengths, SPACING_MM[::-1])
    assert UprightStack(volume).volume.voxel_ml == pytest.approx(volume.voxel_ml)


@pytest.mark.parametrize("lean", LEANS)
def test_the_way_back_is_exact(lean):
    volume = volume_leaning(*lean)
    stack = UprightStack(volume)
    np.testing.assert_array_equal(stack.moved_back(stack.volume.voxels_hu), volume.voxels_hu)


def test_a_stack_that_is_not_tilted_is_left_as_it_is():
    # A quarter of a pixel over the whole stack: rounding of the positions.
    for lean in ((0.0, 0.0), (0.2 / SLICES, 0.0)):
        volume = volume_leaning(*lean)
        assert UprightStack(volume).volume is volume


def test_segmenters_see_the_upright_stack_and_answer_on_the_stored_one():
    # 8 steps of 1 mm are 10 rows of 0.8 mm.
    volume, seen = volume_leaning(1.0, 0.0), []

    def lungs_above(volume):
        seen.append(volume.voxels_hu.shape)
        return LungMask((volume.voxels_hu > 0).astype(np.uint8), MODEL)

    def lesions_above(volume, lungs):
        seen.append(lungs.labels.shape)
        return LesionMask(lungs.labels * (volume.voxels_hu > 100), MODEL)

    lungs = lungs_upright(lungs_above)(volume)
    lesions = lesions_upright(lesions_above)(volume, lungs)
    np.testing.assert_array_equal(lungs.labels, volume.voxels_hu > 0)
    np.testing.assert_array_equal(lesions.labels, volume.voxels_hu > 100)
    assert seen == [(SLICES, ROWS + 10, COLUMNS)] * 2


def test_networks_see_the_upright_lungs():
    """A straight box of lung, stored by a tilted gantry, gives the networks what the straight box gives."""
    inside = np.zeros((SLICES, ROWS + 40, COLUMNS), dtype=np.uint8)
    inside[1:-1, 30:50, 8:28] = 1
    wide = np.random.default_rng(2).integers(-900, 200, inside.shape, dtype=np.int16)
    # Each slice begins two rows before the one below.
    starts = [20 + 2 * (SLICES // 2 - k) for k in range(SLICES)]
    stored = [slice(start, start + ROWS) for start in starts]
    leaning = volume_leaning(by_j_mm=-2 * 0.8)
    leaning = replace(leaning, voxels_hu=np.stack([plane[part] for plane, part in zip(wide, stored, strict=True)]))
    labels = np.stack([plane[part] for plane, part in zip(inside, stored, strict=True)])
    assert labels.sum() == inside.sum()
    found = network_input(leaning, LungMask(labels, MODEL))
    np.testing.assert_array_equal(found, resample_lungs(wide, inside))
    assert not np.array_equal(found, resample_lungs(leaning.voxels_hu, labels))
