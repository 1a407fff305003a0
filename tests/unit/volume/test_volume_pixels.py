"""Stored words -> Hounsfield units, against pydicom's own decoding and rescaling where it knows how."""

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_rescale
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from covnode.volume.loading import load_volume

SHAPE = (10, 12)


def stored(*values, bits_allocated=16):
    """Pixel data whose first pixels are `values`, the rest 1024."""
    words = np.full(SHAPE, 1024 if bits_allocated == 16 else 100, dtype=np.int64)
    words.flat[: len(values)] = values
    return (words & ((1 << bits_allocated) - 1)).astype(f"<u{bits_allocated // 8}").tobytes()


def first_pixels(make_series, count, data, **values):
    def change(dataset, index):
        dataset.PixelData = data
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    # Distinct slices are not needed here: every slice holds the same pixels.
    return load_volume(make_series(change=change)).voxels_hu[3].flat[:count].tolist()


def test_unsigned_values(make_series):
    assert first_pixels(make_series, 3, stored(0, 1000, 4095)) == [-1024, -24, 3071]


def test_bits_above_high_bit_are_no_value(make_series):
    assert first_pixels(make_series, 2, stored(0xF000 | 1000, 0x1000 | 7)) == [-24, -1017]


def test_signed_values_are_sign_extended_from_bits_stored(make_series):
    pixels = stored(-5, 0x0FFF, 2047, -2048)
    assert first_pixels(make_series, 4, pixels, PixelRepresentation=1, RescaleIntercept="0") == [-5, -1, 2047, -1024]


def test_values_below_air_are_air_and_large_ones_are_clipped(make_series):
    pixels = stored(-3000, 30000, 32767)
    found = first_pixels(
        make_series, 3, pixels, PixelRepresentation=1, BitsStored=16, HighBit=15, RescaleIntercept="0", RescaleSlope="2"
    )
    assert found == [-1024, 32767, 32767]


def test_fractions_are_rounded(make_series):
    found = first_pixels(make_series, 3, stored(1001, 1003, 2000), RescaleSlope="0.5", RescaleIntercept="-1000.25")
    assert found == [-500, -499, 0]


def test_padding_becomes_air(make_series):
    assert first_pixels(make_series, 3, stored(2000, 1999, 2001), PixelPaddingValue=2000) == [-1024, 975, 977]


@pytest.mark.parametrize("limits", [(2000, 2010), (2010, 2000)])
def test_a_padding_range_may_run_either_way(make_series, limits):
    found = first_pixels(
        make_series,
        4,
        stored(1999, 2000, 2010, 2011),
        PixelPaddingValue=limits[0],
        PixelPaddingRangeLimit=limits[1],
    )
    assert found == [975, -1024, -1024, 987]


def signed_16(**values):
    return {"PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15, "RescaleIntercept": "1000", **values}


def test_a_signed_padding_value_is_found(make_series):
    found = first_pixels(make_series, 2, stored(-2000, -1999), **signed_16(PixelPaddingValue=-2000))
    assert found == [-1024, -999]


def test_a_padding_value_written_as_unsigned_is_the_same_word(make_series):
    def change(dataset, index):
        dataset.PixelData = stored(-2000, -1999)
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        dataset.RescaleIntercept = "1000"
        dataset.add_new("PixelPaddingValue", "US", 63536)

    assert load_volume(make_series(change=change)).voxels_hu[0].flat[:2].tolist() == [-1024, -999]


def test_padding_that_bits_stored_cannot_hold_spares_real_values(make_series):
    # 63536 cut to 12 bits would be 2096: bone, not padding.
    assert first_pixels(make_series, 2, stored(63536, 2096), PixelPaddingValue=63536) == [-1024, 1072]


def test_padding_is_found_below_overlay_bits(make_series):
    assert first_pixels(make_series, 2, stored(0xF000 | 2000, 0x1000 | 1999), PixelPaddingValue=2000) == [-1024, 975]


def test_each_slice_is_rescaled_by_its_own_slope_and_intercept(make_series):
    def change(dataset, index):
        dataset.PixelData = stored(1000)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(1 + index / 10), str(-index)

    volume = load_volume(make_series(change=change))
    expected = [np.rint(1000 * (1 + index / 10) - index) for index in range(12)]
    assert volume.voxels_hu[:, 0, 0].tolist() == expected


def test_eight_bits(make_series):
    found = first_pixels(
        make_series,
        3,
        stored(0, 200, 255, bits_allocated=8),
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        RescaleSlope="10",
    )
    assert found == [-1024, 976, 1526]


@pytest.mark.parametrize(
    "transfer_syntax_uid", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_native_encoding_gives_the_same_volume(make_series, transfer_syntax_uid):
    def encode(dataset, index):
        dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
        if transfer_syntax_uid == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()

    expected, volume = load_volume(make_series()), load_volume(make_series(change=encode))
    np.testing.assert_array_equal(volume.voxels_hu, expected.voxels_hu)
    np.testing.assert_array_equal(volume.affine_lps_mm, expected.affine_lps_mm)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits_stored", [9, 12, 15, 16])
def test_equal_to_pydicom(make_series, signed, bits_stored):
    def noise(dataset, index):
        words = np.random.default_rng(index).integers(0, 1 << bits_stored, SHAPE)
        if signed:  # the bits above are copies of the sign
            words = ((words ^ (1 << (bits_stored - 1))) - (1 << (bits_stored - 1))) & 0xFFFF
        dataset.PixelData = words.astype("<u2").tobytes()
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = signed, bits_stored, bits_stored - 1
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.8125", "-1000.5"

    volume = load_volume(make_series(change=noise))
    for frame, voxels_hu in zip(volume.frames, volume.voxels_hu, strict=True):
        dataset = pydicom.dcmread(frame.path)
        expected = np.clip(np.rint(apply_rescale(dataset.pixel_array, dataset)), -1024, 32767)
        np.testing.assert_array_equal(voxels_hu, expected)
