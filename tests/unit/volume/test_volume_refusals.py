"""Every bad series is answered by its own reason, with figures that a person finds the slices by."""

import random

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage
from stored_ct import decimal_strings, series_of

from covnode import errors
from covnode.records.series import DeidentifiedSeries
from covnode.volume.loading import load_volume

TILTED = (1.0, 0.0, 0.0), (0.0, np.cos(0.3), np.sin(0.3))


def only(index_changed, **values):
    """Change the attributes of one slice."""

    def change(dataset, index):
        if index == index_changed:
            for keyword, value in values.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, value)

    return change


def each(**values):
    def change(dataset, index):
        only(index, **values)(dataset, index)

    return change


def move(index_moved, *by_mm):
    def change(dataset, index):
        if index == index_moved:
            moved = np.array(dataset.ImagePositionPatient, dtype=float) + by_mm
            dataset.ImagePositionPatient = decimal_strings(moved)

    return change


CASES = [
    ("another modality", each(Modality="MR", SOPClassUID=MRImageStorage), errors.WrongModality, "12 of 12 images"),
    ("no modality", each(Modality=None), errors.WrongModality, "12 of 12 images"),
    (
        "a screenshot among the slices",
        only(4, SOPClassUID=SecondaryCaptureImageStorage),
        errors.WrongModality,
        "1 of 12 images .*instance 5",
    ),
    ("localizers", each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), errors.LocalizerOnly, "all 12 images"),
    ("no pixel data", each(PixelData=None), errors.PixelDataMissing, "12 of 12 slices .*instance 1, .*9 more"),
    ("one without pixel data", only(3, PixelData=None), errors.PixelDataMissing, r"1 of 12 slices .*\(instance 4\)"),
    ("empty pixel data", only(3, PixelData=b""), errors.PixelDataMissing, r"\(instance 4\)"),
    ("pixel data too short", only(3, PixelData=bytes(238)), errors.PixelDataUnreadable, "instance 4: .*238 .*240"),
    ("pixel data too long", only(3, PixelData=bytes(242)), errors.PixelDataUnreadable, "instance 4: .*242 .*240"),
    ("colour", each(SamplesPerPixel=3), errors.PixelDataUnreadable, "instance 1: Samples per Pixel"),
    ("inverted", each(PhotometricInterpretation="MONOCHROME1"), errors.PixelDataUnreadable, "not MONOCHROME2"),
    ("32 bits", only(2, BitsAllocated=32), errors.PixelDataUnreadable, "instance 3: Bits Allocated"),
    ("bits stored", only(2, BitsStored=17), errors.PixelDataUnreadable, "instance 3: Bits Stored"),
    ("high bit", only(2, HighBit=15), errors.PixelDataUnreadable, "instance 3: High Bit"),
    ("no sign", only(2, PixelRepresentation=None), errors.PixelDataUnreadable, "instance 3: Pixel Representation"),
    ("no matrix", only(2, Rows=None), errors.PixelDataUnreadable, "instance 3: Rows"),
    ("a matrix beyond reason", each(Rows=60000), errors.PixelDataUnreadable, "instance 1: Rows or Columns exceeds"),
    ("frames in a single-frame class", only(2, NumberOfFrames=2), errors.PixelDataUnreadable, "instance 3: several"),
    ("no rescale", only(2, RescaleIntercept=None), errors.PixelDataUnreadable, r"Rescale .*\(instance 3\)"),
    ("slope 0", only(2, RescaleSlope="0"), errors.PixelDataUnreadable, r"Slope is 0 \(instance 3\)"),
    ("an effective atomic number map", each(RescaleType="Z_EFF"), errors.NotChestCT, "not Hounsfield"),
    ("no position", only(5, ImagePositionPatient=None), errors.GeometryMissing, r"Position .*1 of 12 .*\(instance 6\)"),
    ("half a position", only(5, ImagePositionPatient=["1", "2"]), errors.GeometryMissing, r"Position .*\(instance 6\)"),
    ("no orientation", only(5, ImageOrientationPatient=None), errors.GeometryMissing, r"Orientation .*\(instance 6\)"),
    ("no spacing", only(5, PixelSpacing=None), errors.GeometryMissing, r"Pixel Spacing .*\(instance 6\)"),
    ("spacing 0", only(5, PixelSpacing=["0", "1"]), errors.GeometryMissing, r"not positive \(instance 6\)"),
    (
        "orientation of no length",
        each(ImageOrientationPatient=["0"] * 6),
        errors.GeometryMissing,
        "not a pair of orthogonal unit vectors",
    ),
    (
        "one slice turned",
        only(5, ImageOrientationPatient=["0", "1", "0", "1", "0", "0"]),
        errors.MixedGeometry,
        r"Orientation .* by 10\.80 mm at the far edge .*1 of 12 slices \(instance 6\)",
    ),
    (
        "the first slice another spacing",
        only(0, PixelSpacing=["0.7", "0.8"]),
        errors.MixedGeometry,
        r"Spacing .* by 1\.20 mm at the far edge .*\(instance 1\)",
    ),
    (
        "one slice another matrix",
        only(5, Rows=5, Columns=24),
        errors.MixedGeometry,
        r"matrix .*1 of 12 slices \(instance 6\)",
    ),
    ("frames of reference", only(5, FrameOfReferenceUID="2.25.4"), errors.MixedGeometry, "Frame of Reference"),
    ("a slice beside the others", move(5, 3, 0, 0), errors.MixedGeometry, "instance 6 .*3.0 mm beside"),
    ("a slice out of step", move(5, 0, 0, 0.6), errors.NonUniformSpacing, "2.50 mm.* 3.10 mm between instance 5 .*6"),
]


@pytest.mark.parametrize(("change", "error", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_reason(make_series, change, error, message):
    with pytest.raises(errors.SeriesUnusable, match=message) as refused:
        load_volume(make_series(change=change))
    assert type(refused.value) is error
    assert "SENTINEL" not in str(refused.value)
    assert "2.25" not in str(refused.value)


def test_three_slices(make_series):
    with pytest.raises(errors.TooFewSlices, match="3 slices; at least 10"):
        load_volume(make_series(count=3))
    assert load_volume(make_series(count=3), min_slices=3).voxels_hu.shape[0] == 3


def test_one_slice_is_never_a_volume(make_series):
    with pytest.raises(errors.TooFewSlices):
        load_volume(make_series(count=1), min_slices=1)


def without(series, *indices):
    return DeidentifiedSeries(
        "s", 1, tuple(path for index, path in enumerate(series.files) if index not in indices), "0"
    )


def test_a_gap_names_its_neighbours_and_millimetres(make_series):
    with pytest.raises(errors.SliceMissing, match=r"1 slice.*2\.50 mm apart, but 5\.00 mm between instance 5 .*7"):
        load_volume(without(make_series(), 5))


def test_several_gaps_are_counted(make_series):
    with pytest.raises(errors.SliceMissing, match="3 slice"):
        load_volume(without(make_series(count=20), 5, 6, 11))


def test_slices_missing_at_the_end_leave_an_even_stack(make_series):
    assert load_volume(without(make_series(), 0, 11)).voxels_hu.shape[0] == 10


@pytest.mark.parametrize(
    ("row", "column", "degrees"),
    [((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), 90), ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), 90)],
    ids=["coronal", "sagittal"],
)
def test_reformats_are_not_axial(make_series, row, column, degrees):
    with pytest.raises(errors.NotAxial, match=f"{degrees} degrees"):
        load_volume(make_series(row=row, column=column))


def test_a_tilt_beyond_any_gantry_is_refused(make_series):
    steep = {"row": (1.0, 0.0, 0.0), "column": (0.0, 0.8, 0.6), "stacked_along": (0.0, 0.0, 1.0)}
    with pytest.raises(errors.MixedGeometry, match=r"1\.50 mm beside the one below, 36\.9 degrees .*more than 35"):
        load_volume(make_series(**steep))


@pytest.mark.parametrize("index", [0, 5, 11])
def test_a_slice_beside_a_tilted_stack_is_named(make_series, index):
    tilted = {"row": TILTED[0], "column": TILTED[1], "stacked_along": (0.0, 0.0, 1.0)}
    with pytest.raises(errors.MixedGeometry, match=rf"instance {index + 1} .*3\.0 mm beside the line"):
        load_volume(make_series(change=move(index, 3, 0, 0), **tilted))


def test_a_field_of_view_that_moves_halfway_is_refused(make_series):
    def move_upper_half(dataset, index):
        if index > 5:
            move(index, 4, 0, 0)(dataset, index)

    with pytest.raises(errors.MixedGeometry, match=r"mm beside the line of the other slices"):
        load_volume(make_series(change=move_upper_half))


def test_a_drift_of_the_slice_distance_is_refused(make_series):
    def stretch(dataset, index):  # each distance is within 5 % of the median
        dataset.ImagePositionPatient = decimal_strings((0, 0, 2.5 * index + 0.0012 * index**2))

    with pytest.raises(errors.NonUniformSpacing, match=r"drifts: .* 2\.9\d mm off an even stack"):
        load_volume(make_series(count=100, change=stretch))


def test_localizers_among_axial_slices_are_left_out_with_a_caution(make_series):
    def two_scouts(dataset, index):
        if index < 2:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]

    volume = load_volume(make_series(change=two_scouts))
    assert volume.voxels_hu.shape[0] == 10
    assert volume.cautions == ("2 localizer image(s) of the series were left out.",)


@pytest.mark.parametrize(
    ("body_part", "cautious"),
    [("HEAD", True), ("CHEST", False), ("CTTHORAX", False), ("CHESTABDOMEN", False), ("", False)],
)
def test_another_body_part_is_a_caution_only(make_series, body_part, cautious):
    volume = load_volume(make_series(change=each(BodyPartExamined=body_part)))
    assert any("Body Part" in caution for caution in volume.cautions) is cautious


def test_an_unspecified_rescale_type_is_a_caution(make_series):
    assert "unspecified" in load_volume(make_series(change=each(RescaleType="US"))).cautions[0]


def test_no_file_is_dicom(tmp_path):
    (tmp_path / "a.dcm").write_text("no image")
    (tmp_path / "b.dcm").write_bytes(b"")
    with pytest.raises(errors.NotDicom, match="2 of 2 files"):
        load_volume(series_of(tmp_path))


def test_one_unreadable_file_refuses_the_series(make_series):
    series = make_series()
    series.files[4].write_bytes(b"\0" * 500)
    with pytest.raises(errors.NotDicom, match="1 of 12 files"):
        load_volume(series)


def test_no_file_at_all():
    with pytest.raises(errors.NotDicom, match="no file"):
        load_volume(DeidentifiedSeries("s", 1, (), "0"))


def test_a_vanished_file_is_tried_again(make_series):
    series = make_series()
    series.files[4].unlink()
    with pytest.raises(errors.TransientError):
        load_volume(series)


@pytest.mark.parametrize("kept", [0.99, 0.7, 0.5, 0.3])
def test_a_file_cut_anywhere_is_refused(make_series, kept):
    series = make_series()
    whole = series.files[4].read_bytes()
    series.files[4].write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(errors.SeriesUnusable):
        load_volume(series)


def test_truncated_pixels_name_the_slice(make_series):
    series = make_series()
    series.files[4].write_bytes(series.files[4].read_bytes()[:-10])
    with pytest.raises(errors.PixelDataUnreadable, match=r"instance 5: .*truncated: 230 of 240 bytes"):
        load_volume(series)


def test_an_unknown_transfer_syntax_is_named(make_series, tmp_path):
    dataset = pydicom.dcmread(make_series().files[0])
    series = make_series()
    for path in series.files:
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0\0\1ftypmp42"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
        dataset.save_as(path)
    with pytest.raises(errors.PixelDataUnreadable, match=r"not supported .*MPEG-4"):
        load_volume(series)


def test_no_damage_raises_anything_but_a_reason(make_series):
    series = make_series()
    path = series.files[4]
    original = path.read_bytes()
    chance = random.Random(7)
    reasons = set()
    for _ in range(150):
        data = bytearray(original)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(132, len(data))] = chance.choice((0, 0xFF, chance.randrange(256)))
        path.write_bytes(data)
        try:
            assert load_volume(series).voxels_hu.shape == (12, 10, 12)
        except errors.SeriesUnusable as refused:
            reasons.add(type(refused))
    assert len(reasons) > 5
