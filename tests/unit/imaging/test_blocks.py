import numpy as np
import pytest

from covnode.imaging.blocks import block_mean, coarser, factors_towards, spread


@pytest.mark.parametrize(
    ("spacing_mm", "factors"),
    [
        ((1.0, 0.7, 0.7), (2, 2, 2)),
        ((5.0, 0.84, 0.84), (1, 2, 2)),
        ((0.5, 0.4, 0.4), (3, 4, 4)),
        ((8.0, 3.0, 3.0), (1, 1, 1)),
    ],
)
def test_factors_come_near_the_target_and_leave_coarse_axes_alone(spacing_mm, factors):
    assert factors_towards(spacing_mm, 1.6) == factors


def test_coarser_spacing_is_the_distance_of_block_centres():
    assert coarser((1.0, 0.7, 0.8), (2, 2, 1)) == pytest.approx((2.0, 1.4, 0.8))


def test_block_mean_equals_the_mean_of_each_block():
    voxels = np.random.default_rng(0).integers(-1024, 3071, (4, 6, 9)).astype(np.int16)
    means = block_mean(voxels, (2, 2, 3))
    expected = np.floor(voxels.reshape(2, 2, 3, 2, 3, 3).mean(axis=(1, 3, 5)))
    np.testing.assert_array_equal(means, expected)
    assert means.dtype == np.int16


def test_last_blocks_of_an_axis_repeat_the_edge():
    voxels = np.array([[[0, 2, 10]], [[0, 2, 10]], [[4, 4, 30]]], dtype=np.int16)
    np.testing.assert_array_equal(block_mean(voxels, (2, 1, 2)), [[[1, 10]], [[4, 30]]])


def test_block_mean_does_not_overflow():
    voxels = np.full((3, 32, 32), 3071, dtype=np.int16)
    np.testing.assert_array_equal(block_mean(voxels, (3, 16, 16)), np.full((1, 2, 2), 3071))


def test_spread_puts_each_value_back_on_its_voxels():
    voxels = np.arange(5 * 7 * 4, dtype=np.int16).reshape(5, 7, 4)
    factors, shape = (2, 3, 1), (5, 7, 4)
    means = block_mean(voxels, factors)
    whole = spread(means, factors, shape, slice(None))
    assert whole.shape == shape
    for k, j, i in np.ndindex(shape):
        assert whole[k, j, i] == means[k // 2, j // 3, i]
    np.testing.assert_array_equal(spread(means, factors, shape, slice(1, 4)), whole[1:4])
