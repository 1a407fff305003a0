import numpy as np

from covnode.imaging.components import (
    at_least,
    components,
    holes,
    largest,
    reached_within_slices,
    small_in_slices,
)


def mask_of(*boxes, shape=(6, 12, 12)):
    mask = np.zeros(shape, dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


SMALL = np.s_[0:1, 0:2, 0:2]
LARGE = np.s_[2:5, 4:9, 4:9]


def test_regions_that_meet_in_an_edge_are_two():
    found = components(mask_of(np.s_[0, 0, 0], np.s_[0, 1, 1]))
    assert len(found.sizes) == 3
    assert list(found.sizes[1:]) == [1, 1]


def test_components_are_ordered_by_size_and_ties_by_place():
    found = components(mask_of(SMALL, LARGE, np.s_[0:1, 10:12, 10:12]))
    order = found.by_size()
    assert list(found.sizes[order]) == [75, 4, 4]
    np.testing.assert_array_equal(found.mask_of(order[:1]), mask_of(LARGE))
    np.testing.assert_array_equal(found.mask_of(order[1:2]), mask_of(SMALL))


def test_largest_and_at_least_choose_by_size():
    mask = mask_of(SMALL, LARGE)
    np.testing.assert_array_equal(largest(mask), mask_of(LARGE))
    np.testing.assert_array_equal(at_least(mask, 5), mask_of(LARGE))
    np.testing.assert_array_equal(at_least(mask, 4), mask)


def test_an_empty_mask_has_no_component():
    empty = mask_of()
    assert components(empty).by_size() == []
    assert not largest(empty).any()
    assert not at_least(empty, 0).any()
    assert not holes(empty).any()


def test_what_is_reached_stays_within_the_slice():
    mask = mask_of(np.s_[0:3, 4, 2:9])
    seed = mask_of(np.s_[1, 4, 2])
    np.testing.assert_array_equal(reached_within_slices(seed, mask), mask_of(np.s_[1, 4, 2:9]))
    assert not reached_within_slices(mask_of(np.s_[1, 0, 0]), mask).any()


def test_holes_in_space_are_closed_on_all_sides():
    box = mask_of(np.s_[1:5, 2:9, 2:9])
    cavity, tunnel = np.s_[2:4, 4:6, 4:6], np.s_[:, 7, 7]
    box[cavity] = False
    box[tunnel] = False
    np.testing.assert_array_equal(holes(box), mask_of(cavity))
    np.testing.assert_array_equal(holes(box, axis=0), mask_of(cavity, np.s_[1:5, 7, 7]))


def test_an_island_open_below_is_a_hole_of_its_slice_but_not_of_the_coronal_plane():
    lung = mask_of(np.s_[1:5, 1:11, 1:11])
    dome = np.s_[1:3, 4:8, 4:8]
    lung[dome] = False
    np.testing.assert_array_equal(holes(lung, axis=0), mask_of(dome))
    assert not holes(lung, axis=1).any()
    assert not holes(lung).any()


def test_small_parts_are_measured_within_their_slice():
    tall = mask_of(np.s_[0:6, 0:2, 0:2])
    wide = mask_of(np.s_[3, 4:9, 4:9])
    np.testing.assert_array_equal(small_in_slices(tall | wide, 4), tall)
