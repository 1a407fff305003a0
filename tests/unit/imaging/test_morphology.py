import numpy as np
import pytest

from covnode.imaging.morphology import (
    box_of,
    closed,
    closed_in_slices,
    dilate,
    distance_to,
    erode,
    opened,
    opened_in_slices,
)

THICK = (5.0, 1.0, 1.0)
ISOTROPIC = (1.0, 1.0, 1.0)


def ball(shape, centre, radius_mm, spacing_mm):
    grid = np.indices(shape)
    offsets = [(grid[axis] - centre[axis]) * spacing_mm[axis] for axis in range(3)]
    return np.sqrt(sum(offset**2 for offset in offsets)) <= radius_mm


def test_a_ball_is_round_in_mm_whatever_the_spacing():
    point = np.zeros((9, 31, 31), dtype=bool)
    point[4, 15, 15] = True
    np.testing.assert_array_equal(dilate(point, 10.0, THICK), ball(point.shape, (4, 15, 15), 10.0, THICK))
    assert not dilate(point, 4.9, THICK)[[3, 5]].any()


def test_eroding_takes_away_what_is_nearer_than_the_radius():
    mask = ball((31, 31, 31), (15, 15, 15), 10.0, ISOTROPIC)
    core = erode(mask, 4.0, ISOTROPIC)
    outside = np.sqrt(sum((grid - 15) ** 2 for grid in np.indices(mask.shape)))
    assert core[outside < 5.5].all()
    assert not core[outside > 7].any()


def test_the_edge_of_the_grid_does_not_erode():
    mask = np.zeros((10, 20, 20), dtype=bool)
    mask[:, :12] = True
    expected = np.zeros_like(mask)
    expected[:, :9] = True
    np.testing.assert_array_equal(erode(mask, 3.0, ISOTROPIC), expected)
    assert erode(np.ones_like(mask), 3.0, ISOTROPIC).all()


def test_opening_takes_a_sheet_away_and_leaves_a_ball():
    body = ball((31, 31, 61), (15, 15, 15), 9.0, ISOTROPIC)
    sheet = np.zeros_like(body)
    sheet[:, :, 50:52] = True
    cleaned = opened(body | sheet, 4.0, ISOTROPIC)
    assert not (cleaned & sheet).any()
    assert (cleaned & body).sum() > 0.9 * body.sum()
    assert not (cleaned & ~body).any()


@pytest.mark.parametrize(("gap", "filled"), [(4, True), (12, False)])
def test_closing_fills_gaps_that_the_ball_cannot_enter(gap, filled):
    mask = np.ones((10, 40, 30), dtype=bool)
    mask[:, 15 : 15 + gap] = False
    assert closed(mask, 4.0, ISOTROPIC)[:, 15 + gap // 2].all() == filled


def test_nothing_comes_of_nothing():
    empty = np.zeros((4, 5, 6), dtype=bool)
    assert np.isinf(distance_to(empty, ISOTROPIC)).all()
    for change in (dilate, erode, opened, closed):
        assert not change(empty, 2.0, ISOTROPIC).any()


def test_a_box_has_a_margin_in_mm_and_stays_in_the_grid():
    mask = np.zeros((20, 30, 30), dtype=bool)
    mask[10, 5:8, 28] = True
    box = box_of(mask, 6.0, THICK)
    assert mask[box].shape == (5, 14, 8)
    assert mask[box].sum() == mask.sum()
    assert np.zeros_like(mask)[box_of(np.zeros_like(mask), 1.0, THICK)].shape == mask.shape


def test_disks_open_and_close_each_slice_by_itself():
    body = np.zeros((3, 40, 60), dtype=bool)
    body[:, 10:30, 5:25] = True
    table = np.zeros_like(body)
    table[:, 34:36, :] = True
    cleaned = opened_in_slices(body | table, 4.0, THICK)
    assert not (cleaned & table).any()
    assert (cleaned & body).sum() > 0.9 * body.sum()
    gap = np.s_[1, 18:22, 12:15]
    body[gap] = False
    assert closed_in_slices(body, 4.0, THICK)[gap].all()
    assert not closed_in_slices(body, 1.0, THICK)[gap].all()
    assert closed_in_slices(np.ones((2, 9, 9), dtype=bool), 3.0, THICK).all()
    assert opened_in_slices(np.ones((2, 9, 9), dtype=bool), 3.0, THICK).all()
