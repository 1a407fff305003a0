"""Several images at one position."""

import numpy as np
import pytest

from covnode import errors
from covnode.records.series import DeidentifiedSeries
from covnode.volume.loading import load_volume


def together(*series):
    return DeidentifiedSeries("s", 1, tuple(path for one in series for path in one.files), "0")


def brighter(by_hu, **values):
    """A series whose values are higher by `by_hu`."""

    def change(dataset, index):
        dataset.RescaleIntercept = str(-1024 + by_hu)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def test_identical_copies_are_one_slice(make_series):
    series = make_series()
    volume = load_volume(together(series, make_series(count=5)))
    np.testing.assert_array_equal(volume.voxels_hu, load_volume(series).voxels_hu)
    assert volume.cautions == (
        "5 image(s) were identical copies of another at the same position; one of each was used.",
    )


def test_copies_do_not_make_a_series_long_enough(make_series):
    with pytest.raises(errors.TooFewSlices, match="6 slices"):
        load_volume(together(make_series(count=6), make_series(count=6)))


def test_different_images_that_nothing_tells_apart_are_refused(make_series):
    with pytest.raises(errors.DuplicatePositions, match=r"in 12 places.*instance 1 .*slice 1 .* and instance 1 "):
        load_volume(together(make_series(), make_series(change=brighter(10))))


def test_equal_pixels_with_another_rescale_are_different_images(make_series):
    with pytest.raises(errors.DuplicatePositions):
        load_volume(together(make_series(), make_series(count=1, change=brighter(1))))


def test_of_two_acquisitions_the_longer_is_used(make_series):
    longer = make_series(count=14, change=brighter(7, AcquisitionNumber=2))
    volume = load_volume(together(make_series(), longer))
    np.testing.assert_array_equal(volume.voxels_hu, load_volume(longer).voxels_hu)
    assert volume.cautions == (
        "The series holds several stacks of images of the same range, told apart by Acquisition Number; the one of "
        "14 slices (Acquisition Number 2) was used and 12 other image(s) were left out.",
    )


def test_of_equally_long_acquisitions_the_first_is_used(make_series):
    first, second = make_series(), make_series(change=brighter(7, AcquisitionNumber=2))
    expected = load_volume(first).voxels_hu
    for order in ((first, second), (second, first)):
        np.testing.assert_array_equal(load_volume(together(*order)).voxels_hu, expected)


@pytest.mark.parametrize(
    "values",
    [
        {"TemporalPositionIdentifier": 2},
        {"AcquisitionTime": "120000"},
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]},
        {"ConvolutionKernel": "B70f"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_other_attributes_tell_stacks_apart_too(make_series, values):
    volume = load_volume(together(make_series(), make_series(change=brighter(7, **values))))
    assert volume.voxels_hu.shape[0] == 12
    assert len(volume.cautions) == 1
    assert "120000" not in volume.cautions[0]


def test_a_few_images_of_another_acquisition_do_not_spoil_the_stack(make_series):
    # Bolus tracking: the same level again and again, before the volume itself.
    series = make_series()
    level = [make_series(count=1, change=brighter(n + 1, AcquisitionNumber=n + 2)) for n in range(4)]
    np.testing.assert_array_equal(load_volume(together(*level, series)).voxels_hu, load_volume(series).voxels_hu)


def test_no_part_of_the_body_is_left_out(make_series):
    # Acquisition 1 covers the lower, acquisition 2 the upper part; they overlap: neither alone is the chest.
    upper = make_series(origin_lps_mm=(-8.0, -6.5, 5.0), change=brighter(7, AcquisitionNumber=2))
    with pytest.raises(errors.DuplicatePositions):
        load_volume(together(make_series(), upper))


def halfway(make_series, **values):
    """A series whose slices lie between those of the plain one."""
    return make_series(origin_lps_mm=(-8.0, -6.5, -18.75), change=brighter(7, **values))


def test_interleaved_acquisitions_are_not_mixed(make_series):
    # Together they are evenly spaced, but the patient has breathed in between.
    first, second = make_series(), halfway(make_series, AcquisitionNumber=2)
    volume = load_volume(together(first, second))
    np.testing.assert_array_equal(volume.voxels_hu, load_volume(first).voxels_hu)
    assert volume.spacing_mm[0] == pytest.approx(2.5)
    assert volume.cautions == (
        "The series holds several stacks of images of the same range, told apart by Acquisition Number; the one of "
        "12 slices (Acquisition Number 1) was used and 12 other image(s) were left out.",
    )


def test_of_interleaved_reconstructions_the_finer_is_used(make_series):
    fine = make_series(
        slice_spacing_mm=1.1, count=26, origin_lps_mm=(-8.0, -6.5, -19.7), change=brighter(7, ConvolutionKernel="B70f")
    )
    volume = load_volume(together(make_series(), fine))
    np.testing.assert_array_equal(volume.voxels_hu, load_volume(fine).voxels_hu)
    assert "Convolution Kernel; the one of 26 slices was used and 12 other" in volume.cautions[0]


def test_an_overlapping_reconstruction_is_one_stack(make_series):
    # Nothing differs but the place: slices of 2.5 mm, each half over the next.
    first, second = make_series(), make_series(origin_lps_mm=(-8.0, -6.5, -18.75))
    volume = load_volume(together(first, second))
    assert volume.voxels_hu.shape[0] == 24
    assert volume.spacing_mm[0] == pytest.approx(1.25)
    assert volume.acquisition.slice_thickness_mm == 2.5
    assert volume.cautions == ()


def test_acquisitions_that_follow_one_another_are_one_stack(make_series):
    # Step and shoot: every four slices are an acquisition of their own.
    def number(dataset, index):
        dataset.AcquisitionNumber = index // 4 + 1

    volume = load_volume(make_series(count=24, change=number), min_slices=4)
    assert volume.voxels_hu.shape[0] == 24
    assert volume.cautions == ()


def test_stacks_that_nothing_tells_apart_are_refused_with_the_millimetres(make_series):
    odd = make_series(origin_lps_mm=(-8.0, -6.5, -19.0))
    with pytest.raises(errors.NonUniformSpacing, match=r"1\.50 mm between instance 1 .*-19\.00 mm\) and instance 2 "):
        load_volume(together(make_series(), odd))


def test_a_gap_in_the_longest_stack_is_no_complete_stack(make_series):
    holey = make_series(count=30, change=brighter(7, AcquisitionNumber=2))
    holey = DeidentifiedSeries("s", 1, holey.files[:10] + holey.files[11:], "0")
    volume = load_volume(together(make_series(count=28), holey))
    assert volume.voxels_hu.shape[0] == 28
