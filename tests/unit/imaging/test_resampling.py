"""The networks' input: cropped to the lungs, blank outside, right way round, the same for any grid."""

import numpy as np
import pytest

from covnode.errors import LungsNotFound
from covnode.imaging.resampling import NETWORK_SHAPE, resample_lungs


def lungs_box(shape, box):
    labels = np.zeros(shape, dtype=np.uint8)
    labels[box] = 1
    return labels


def test_shape_type_and_window():
    voxels = np.full((40, 60, 70), -300, dtype=np.int16)
    result = resample_lungs(voxels, np.ones(voxels.shape, dtype=np.uint8))
    assert result.shape == NETWORK_SHAPE
    assert result.dtype == np.float32
    assert np.allclose(result, 0.5, atol=1e-6)
    for hu, expected in ((-2000, 0.0), (-1000, 0.0), (400, 1.0), (3000, 1.0)):
        assert np.allclose(resample_lungs(np.full_like(voxels, hu), np.ones(voxels.shape, np.uint8)), expected)


def test_what_surrounds_the_lungs_changes_nothing():
    rng = np.random.default_rng(0)
    lungs_hu = rng.integers(-900, 0, size=(30, 50, 60)).astype(np.int16)
    alone = resample_lungs(lungs_hu, np.ones(lungs_hu.shape, dtype=np.uint8))
    voxels = np.full((90, 140, 150), 300, dtype=np.int16)
    box = slice(20, 50), slice(33, 83), slice(70, 130)
    voxels[box] = lungs_hu
    assert np.array_equal(resample_lungs(voxels, lungs_box(voxels.shape, box)), alone)


def test_dense_tissue_between_the_lungs_is_blank():
    labels = np.ones((64, 128, 128), dtype=np.uint8)
    labels[:, :, 40:80] = 0
    result = resample_lungs(np.full(labels.shape, 100, dtype=np.int16), labels)
    assert not result[:, :, 40:80].any()
    assert result[:, :, :40].min() > 0.7


def test_axes_keep_their_direction():
    for axis in range(3):
        ramp = np.linspace(-1000, 400, 90).astype(np.int16)
        voxels = np.moveaxis(np.broadcast_to(ramp, (90, 90, 90)), -1, axis)
        result = resample_lungs(voxels, np.ones(voxels.shape, dtype=np.uint8))
        along = result.mean(axis=tuple(other for other in range(3) if other != axis))
        assert np.all(np.diff(along) > 0)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_finer_grid_gives_the_same_input(factor):
    rng = np.random.default_rng(1)
    coarse = rng.integers(-900, 100, size=(16, 24, 24)).repeat(4, 0).repeat(5, 1).repeat(5, 2).astype(np.int16)
    fine = coarse.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
    expected = resample_lungs(coarse, np.ones(coarse.shape, dtype=np.uint8))
    result = resample_lungs(fine, np.ones(fine.shape, dtype=np.uint8))
    assert np.abs(result - expected).mean() < 0.02
    assert result.mean() == pytest.approx(expected.mean(), abs=0.005)


def test_few_slices_are_interpolated_between():
    voxels = np.empty((3, 128, 128), dtype=np.int16)
    voxels[:] = np.array([-1000, -300, 400])[:, None, None]
    along_k = resample_lungs(voxels, np.ones(voxels.shape, dtype=np.uint8))[:, 64, 64]
    assert np.all(np.diff(along_k) >= 0)
    assert len(np.unique(along_k.round(4))) > 30


def test_no_lung_is_an_error():
    with pytest.raises(LungsNotFound):
        resample_lungs(np.zeros((4, 4, 4), dtype=np.int16), np.zeros((4, 4, 4), dtype=np.uint8))
