"""Enhanced CT made here by its functional groups, and Legacy Converted Enhanced CT made by highdicom."""

import highdicom.legacy
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from stored_ct import Recipe, ct_dataset, decimal_strings, field_hu, series_of, write

from covnode import errors
from covnode.records.series import DeidentifiedSeries
from covnode.volume.loading import load_volume

TURNED = {"row": (0.0, -1.0, 0.0), "column": (1.0, 0.0, 0.0)}


def item(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def group(**values):
    return Sequence([item(**values)])


def enhanced(recipe, order, change=lambda dataset: None):
    """One Enhanced CT instance with the recipe's slices as frames, stored in `order`."""
    dataset = ct_dataset(recipe, 0)
    for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
        "RescaleIntercept", "ConvolutionKernel", "KVP", "AcquisitionNumber",
    ):  # fmt: skip
        delattr(dataset, keyword)
    dataset.SOPClassUID = uid.EnhancedCTImageStorage
    dataset.NumberOfFrames = len(order)
    dataset.SharedFunctionalGroupsSequence = group(
        PlaneOrientationSequence=group(ImageOrientationPatient=decimal_strings((*recipe.row, *recipe.column))),
        PixelMeasuresSequence=group(PixelSpacing=decimal_strings(recipe.pixel_spacing_mm), SliceThickness="2.5"),
        CTReconstructionSequence=group(ConvolutionKernel="B60f"),
        CTXRayDetailsSequence=group(KVP=110),
    )
    positions = recipe.positions()
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            PlanePositionSequence=group(ImagePositionPatient=decimal_strings(positions[index])),
            FrameContentSequence=group(FrameAcquisitionNumber=1),
            PixelValueTransformationSequence=group(
                RescaleSlope="1", RescaleIntercept=str(-1024 - index), RescaleType="HU"
            ),
            CTImageFrameTypeSequence=group(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
        )
        for index in order
    )
    # Each frame has its own intercept: a frame read in another's place shows.
    frames = [field_hu(recipe.points(positions[index])) + 1024 + index for index in order]
    dataset.PixelData = np.stack(frames).astype("<u2").tobytes()
    change(dataset)
    return dataset


@pytest.fixture
def load_enhanced(tmp_path):
    def load(*, order=range(12), change=lambda dataset: None, **recipe_fields):
        write(enhanced(Recipe(**recipe_fields), order, change), tmp_path / "enhanced.dcm")
        return load_volume(series_of(tmp_path))

    return load


def assert_same_patient(found, expected):
    np.testing.assert_array_equal(found.voxels_hu, expected.voxels_hu)
    np.testing.assert_allclose(found.affine_lps_mm, expected.affine_lps_mm, atol=1e-9)
    assert found.in_plane == expected.in_plane


ORDER = (3, 0, 11, 1, 2, 10, 4, 9, 8, 5, 7, 6)


def test_enhanced_ct_equals_the_single_frames(make_series, load_enhanced):
    volume = load_enhanced(order=ORDER, **TURNED)
    assert_same_patient(volume, load_volume(make_series(**TURNED)))
    assert [frame.frame_number for frame in volume.frames] == [ORDER.index(k) + 1 for k in range(12)]
    assert {frame.sop_class_uid for frame in volume.frames} == {uid.EnhancedCTImageStorage}
    assert volume.acquisition.convolution_kernel == "B60f"
    assert volume.acquisition.kvp == 110
    assert volume.acquisition.slice_thickness_mm == 2.5


def test_frames_of_several_instances_are_one_stack(make_series, tmp_path):
    recipe = Recipe()
    write(enhanced(recipe, (0, 2, 4, 6, 8, 10)), tmp_path / "even.dcm")
    write(enhanced(recipe, (11, 9, 7, 5, 3, 1)), tmp_path / "odd.dcm")
    assert_same_patient(load_volume(series_of(tmp_path)), load_volume(make_series()))


def compressed(*, extended, fragments=1, offset_table=True):
    def change(dataset):
        frames = np.frombuffer(dataset.PixelData, "<u2").reshape(-1, dataset.Rows, dataset.Columns)
        coded = [bytes(imagecodecs.jpegls_encode(frame)) for frame in frames]
        if extended:
            dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
                coded
            )
        else:
            dataset.PixelData = encapsulate(coded, fragments_per_frame=fragments, has_bot=offset_table)
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = uid.JPEGLSLossless

    return change


@pytest.mark.parametrize(
    "options",
    [
        {"extended": False},
        {"extended": False, "offset_table": False},
        {"extended": False, "fragments": 3},
        {"extended": False, "fragments": 3, "offset_table": False},
        {"extended": True},
    ],
    ids=str,
)
def test_compressed_frames(make_series, load_enhanced, options):
    assert_same_patient(load_enhanced(order=ORDER, change=compressed(**options)), load_volume(make_series()))


def drop_a_frame_item(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[-1]


def drop_orientation(dataset):
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


def drop_position(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence


def drop_groups(dataset):
    del dataset.SharedFunctionalGroupsSequence
    del dataset.PerFrameFunctionalGroupsSequence


def drop_pixels(dataset):
    dataset.PixelData = dataset.PixelData[:-240]


def drop_a_compressed_frame(dataset):
    compressed(extended=False)(dataset)
    dataset.NumberOfFrames = 12
    coded = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=12))
    dataset.PixelData = encapsulate(coded[:-1])


def all_localizers(dataset):
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (drop_a_frame_item, errors.GeometryMissing, "11 of its 12 frames"),
        (drop_groups, errors.GeometryMissing, "0 of its 12 frames"),
        (drop_orientation, errors.GeometryMissing, "Orientation .*12 of 12 slices .*frame 1 of instance 1"),
        (drop_position, errors.GeometryMissing, r"Position .*1 of 12 slices \(frame 5 of instance 1\)"),
        (drop_pixels, errors.PixelDataUnreadable, "2640 bytes instead of 2880"),
        (drop_a_compressed_frame, errors.PixelDataUnreadable, "11 of 12 compressed frames"),
        (all_localizers, errors.LocalizerOnly, "all 12"),
    ],
)
def test_reasons(load_enhanced, change, error, message):
    with pytest.raises(error, match=message):
        load_enhanced(change=change)


def test_a_gap_between_frames_is_found(load_enhanced):
    with pytest.raises(errors.SliceMissing, match=r"frame 5 of instance 1 .* frame 6 of instance 1"):
        load_enhanced(order=(0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11))


@pytest.mark.parametrize("transfer_syntax_uid", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless])
def test_legacy_converted_enhanced_ct_equals_its_source(make_series, tmp_path, transfer_syntax_uid):
    def complete(dataset, index):
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20200101", "120000", "1", "1"
        dataset.ReferringPhysicianName = dataset.PatientBirthDate = dataset.PatientSex = ""
        dataset.SeriesNumber, dataset.PositionReferenceIndicator, dataset.PatientPosition = 1, "", "HFS"

    series = make_series(change=complete, **TURNED)
    converted = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        [pydicom.dcmread(path) for path in series.files],
        series_instance_uid="2.25.7",
        series_number=2,
        sop_instance_uid="2.25.8",
        instance_number=1,
        transfer_syntax_uid=transfer_syntax_uid,
    )
    path = tmp_path / "legacy.dcm"
    converted.save_as(path)
    volume = load_volume(DeidentifiedSeries("s", 1, (path,), "0"))
    assert_same_patient(volume, load_volume(series))
    assert {frame.sop_class_uid for frame in volume.frames} == {uid.LegacyConvertedEnhancedCTImageStorage}
