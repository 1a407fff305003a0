import numpy as np
import pytest

from covnode.infer.sides import by_side
from covnode.records.volume import Lung

SPACING_MM = (2.0, 2.0, 2.0)
MIDLINE = 49.5


def chest(*, contact=slice(0, 0)):
    """Two even lungs of 60 x 120 x 80 mm with 20 mm between them, joined within some rows of j."""
    aerated = np.zeros((30, 60, 100), dtype=bool)
    aerated[:, :, 5:45] = True
    aerated[:, :, 55:95] = True
    aerated[:, contact, 45:55] = True
    return aerated, np.where(aerated, -850, 40).astype(np.int16)


def expected(aerated):
    sides = np.where(np.arange(aerated.shape[2]) < MIDLINE, Lung.RIGHT, Lung.LEFT).astype(np.uint8)
    return np.where(aerated, sides, 0)


def test_apart_lungs_are_labelled_by_their_side():
    aerated, hu = chest()
    np.testing.assert_array_equal(by_side(aerated, hu, MIDLINE, SPACING_MM), expected(aerated))


@pytest.mark.parametrize("rows", [2, 6, 11])
def test_a_contact_without_a_line_is_parted_at_the_midline(rows):
    aerated, hu = chest(contact=slice(0, rows))
    np.testing.assert_array_equal(by_side(aerated, hu, MIDLINE, SPACING_MM), expected(aerated))


def test_a_contact_as_wide_as_the_lungs_is_parted_all_the_same():
    aerated, hu = chest(contact=slice(0, 60))
    np.testing.assert_array_equal(by_side(aerated, hu, MIDLINE, SPACING_MM), expected(aerated))


def test_a_line_off_the_midline_is_where_lungs_part():
    aerated, hu = chest(contact=slice(0, 6))
    # The right lung's tongue lies in front of the left lung, behind a line on two sides.
    hu[:, 0:7, 60] = -600
    hu[:, 6, 55:60] = -600
    found = by_side(aerated, hu, MIDLINE, SPACING_MM)
    assert (found[:, 0:6, 45:60] == Lung.RIGHT).all()
    assert (found[:, 0:6, 61:95] == Lung.LEFT).all()
    assert (found[:, 7:, 55:95] == Lung.LEFT).all()


def test_a_fissure_does_not_part_a_lung_from_the_other():
    aerated, hu = chest(contact=slice(0, 6))
    hu[14:16, :, 5:45] = -500
    # The upper half of the right lung and the left lung hang together.
    aerated[:14, :, 45:55] = False
    found = by_side(aerated, hu, MIDLINE, SPACING_MM)
    assert np.count_nonzero(found != expected(aerated)) < 100


def test_upper_lobes_that_touch_are_parted_although_fissures_part_them_from_the_lower_ones():
    aerated, hu = chest(contact=slice(0, 6))
    aerated[:16, :, 45:55] = False
    hu[14:16, :, 5:45] = -500
    hu[14:16, :, 55:95] = -650
    found = by_side(aerated, hu, MIDLINE, SPACING_MM)
    assert np.count_nonzero(found != expected(aerated)) < 100


def test_a_single_lung_that_crosses_the_midline_stays_one():
    aerated = np.zeros((30, 60, 100), dtype=bool)
    aerated[:, :, 40:95] = True
    aerated[:, 0:30, 30:40] = True
    found = by_side(aerated, np.where(aerated, -850, 40).astype(np.int16), MIDLINE, SPACING_MM)
    assert set(np.unique(found)) == {0, Lung.LEFT}


def test_parts_of_a_lung_go_with_their_side():
    aerated, hu = chest()
    aerated[:, 30:34] = False
    np.testing.assert_array_equal(by_side(aerated, hu, MIDLINE, SPACING_MM), expected(aerated))
