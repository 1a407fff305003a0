from dataclasses import replace

import highdicom
import numpy as np
import pytest
from ct_series import LAYOUTS, make_result, make_series, write_part10
from pydicom import dcmread

from covnode.errors import ReportInvalid
from covnode.records.result import DEMONSTRATION, ObjectKind
from covnode.records.volume import LesionMask, LungMask
from covnode.report.writer import write_objects

WANTED = [("lungs", 2), ("lungs", 1), ("lesions", 1), ("lesions", 2)]


def canonical_from_seg(seg, made):
    """Put every set voxel of a SEG into the canonical grid by its own patient coordinates alone."""
    shape = made.lungs.labels.shape
    masks = np.zeros((seg.number_of_segments, *shape), bool)
    inverse = np.linalg.inv(made.volume.affine_lps_mm)
    shared = seg.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    frames = seg.pixel_array if seg.NumberOfFrames > 1 else seg.pixel_array[None]
    for groups, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        r, c = np.nonzero(frame)
        points = position + np.outer(r, column * row_mm) + np.outer(c, row * column_mm)
        index = points @ inverse[:3, :3].T + inverse[:3, 3]
        assert np.abs(index - np.rint(index)).max() < 1e-3
        i, j, k = np.rint(index).astype(int).T
        identified = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        masks[identified[0].ReferencedSegmentNumber - 1, k, j, i] = True
    return masks


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_masks_are_where_they_were_in_the_patient(write, layout):
    made, _, objects = write(layout, rows=59, columns=51)  # frames that do not end at a byte
    seg = highdicom.seg.segread(objects[ObjectKind.SEG].path)
    masks = canonical_from_seg(seg, made)
    labels = {"lungs": made.lungs.labels, "lesions": made.lesions.labels}
    for found, (name, value) in zip(masks, WANTED, strict=True):
        assert np.array_equal(found, labels[name] == value)
    assert seg.SegmentsOverlap == "YES"


@pytest.mark.parametrize("layout", ["axial", "enhanced", "enhanced_split", "tilted", "enhanced_tilted"])
def test_each_frame_names_the_stored_frame_at_its_position(write, layout):
    made, _, objects = write(layout)
    seg = dcmread(objects[ObjectKind.SEG].path)
    positions = {}
    for path in made.paths:
        source = dcmread(path)
        if "PerFrameFunctionalGroupsSequence" in source:
            for number, groups in enumerate(source.PerFrameFunctionalGroupsSequence, 1):
                positions[source.SOPInstanceUID, number] = groups.PlanePositionSequence[0].ImagePositionPatient
        else:
            positions[source.SOPInstanceUID, None] = source.ImagePositionPatient
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        key = source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")
        assert groups.PlanePositionSequence[0].ImagePositionPatient == positions[key]
    (series,) = seg.ReferencedSeriesSequence
    listed = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert listed == {dcmread(path).SOPInstanceUID for path in made.paths}


def test_a_multi_frame_source_of_which_a_part_is_used_is_named_by_its_stored_frame_numbers(tmp_path):
    made = make_series(tmp_path, "enhanced")
    kept = slice(3, 13)
    volume = replace(
        made.volume,
        voxels_hu=made.volume.voxels_hu[kept],
        frames=made.volume.frames[kept],
        affine_lps_mm=made.volume.affine_lps_mm @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]),
    )
    lungs = replace(made.lungs, labels=made.lungs.labels[kept])
    lesions = replace(made.lesions, labels=made.lesions.labels[kept])
    objects = write_objects(volume, lungs, lesions, make_result(made), tmp_path)
    seg = highdicom.seg.segread(objects[0].path)
    part = replace(made, volume=volume, lungs=lungs, lesions=lesions)
    assert np.array_equal(canonical_from_seg(seg, part)[0], lungs.labels == 2)
    stored = dcmread(made.paths[0]).PerFrameFunctionalGroupsSequence
    for groups in seg.PerFrameFunctionalGroupsSequence:
        number = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        position = stored[number - 1].PlanePositionSequence[0].ImagePositionPatient
        assert groups.PlanePositionSequence[0].ImagePositionPatient == position


def test_segments_are_coded_coloured_and_tracked(write):
    _, record, objects = write()
    seg = dcmread(objects[ObjectKind.SEG].path)
    lung, lesion = ("39607008", "SCT"), ("52988006", "SCT")
    wanted = {
        "Left lung": (lung, ("7771000", "SCT"), "threshold-lungs"),
        "Right lung": (lung, ("24028007", "SCT"), "threshold-lungs"),
        "Ground glass opacity": (lesion, ("112120", "DCM"), "density-lesions"),
        "Consolidation": (lesion, ("95436008", "SCT"), "density-lesions"),
    }
    found = {}
    for segment in seg.SegmentSequence:
        (kind,) = segment.SegmentedPropertyTypeCodeSequence
        (modifier,) = kind.SegmentedPropertyTypeModifierCodeSequence
        found[segment.SegmentLabel] = (
            (kind.CodeValue, kind.CodingSchemeDesignator),
            (modifier.CodeValue, modifier.CodingSchemeDesignator),
            segment.SegmentAlgorithmName,
        )
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.TrackingUID.is_valid
    assert found == wanted
    assert [segment.SegmentNumber for segment in seg.SegmentSequence] == [1, 2, 3, 4]
    colours = {tuple(segment.RecommendedDisplayCIELabValue) for segment in seg.SegmentSequence}
    assert len(colours) == len({segment.TrackingUID for segment in seg.SegmentSequence}) == 4
    assert seg.ContentLabel == "DEMONSTRATION"
    assert DEMONSTRATION in seg.ContentDescription
    assert record.demonstration


def test_empty_segments_and_frames_are_left_out(tmp_path):
    made = make_series(tmp_path)
    lesions = LesionMask(np.where(made.lesions.labels == 2, 2, 0).astype(np.uint8), made.lesions.model)
    objects = write_objects(made.volume, made.lungs, lesions, make_result(replace(made, lesions=lesions)), tmp_path)
    seg = dcmread(objects[0].path)
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Left lung", "Right lung", "Consolidation"]
    held = sum(
        int((mask == value).any(axis=(1, 2)).sum())
        for mask, value in ((made.lungs.labels, 1), (made.lungs.labels, 2), (lesions.labels, 2))
    )
    assert seg.NumberOfFrames == held < 3 * made.lungs.labels.shape[0]


def test_a_single_frame_of_a_single_segment_is_written_right(tmp_path):
    made = make_series(tmp_path, rows=59, columns=51)
    labels = np.zeros_like(made.lungs.labels)
    labels[7, 20:31, 11] = 2
    lungs, lesions = LungMask(labels, made.lungs.model), LesionMask(np.zeros_like(labels), made.lesions.model)
    alone = replace(made, lungs=lungs, lesions=lesions)
    record = make_result(made)
    objects = write_objects(made.volume, lungs, lesions, record, tmp_path)
    seg = highdicom.seg.segread(objects[0].path)
    assert np.array_equal(canonical_from_seg(seg, alone)[0], labels == 2)


def test_missing_type_2_attributes_thickness_and_odd_sexes_do_not_stop_it(write):
    gone = ("PatientName", "PatientBirthDate", "StudyID", "AccessionNumber", "StudyTime", "SliceThickness")
    _, _, objects = write("axial", PatientSex="Männlich", **dict.fromkeys(gone))
    seg = dcmread(objects[ObjectKind.SEG].path)
    assert seg.PatientSex == ""
    assert seg.PatientName == ""
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == pytest.approx(2.5)


def test_nothing_but_the_listed_attributes_comes_from_the_source(write):
    _, _, objects = write(
        "axial",
        PatientIdentityRemoved="YES",
        DeidentificationMethod="some method",
        InstitutionName="Sentinel hospital",
        StationName="Sentinel station",
        PatientComments="Sentinel comment",
    )
    for item in objects.values():
        dataset = dcmread(item.path)
        assert "PatientIdentityRemoved" not in dataset
        assert "DeidentificationMethod" not in dataset
        assert "Sentinel" not in str(dataset)


def test_slices_that_differ_by_rounding_are_one_orientation(write):
    _, _, objects = write(
        "axial",
        ImageOrientationPatient=lambda k: [1, 0, 0, 0, 1, 0.00003 * (k % 2)],
        PixelSpacing=lambda k: [0.8, 0.7 + 0.00001 * (k % 3)],
    )
    assert len(dcmread(objects[ObjectKind.SEG].path).SharedFunctionalGroupsSequence[0].PlaneOrientationSequence) == 1


def test_what_cannot_be_written_is_refused(tmp_path):
    made = make_series(tmp_path)
    record = make_result(made)
    empty = np.zeros_like(made.lungs.labels)
    with pytest.raises(ReportInvalid, match="every mask is empty"):
        write_objects(
            made.volume, replace(made.lungs, labels=empty), replace(made.lesions, labels=empty), record, tmp_path
        )
    with pytest.raises(ReportInvalid, match="not on the grid"):
        write_objects(made.volume, replace(made.lungs, labels=empty[1:]), made.lesions, record, tmp_path)
    moved = dcmread(made.paths[4])
    moved.ImagePositionPatient = dcmread(made.paths[5]).ImagePositionPatient
    write_part10(moved, made.paths[4])
    with pytest.raises(ReportInvalid, match="no valid segmentation"):
        write_objects(made.volume, made.lungs, made.lesions, record, tmp_path)
    made.paths[7].unlink()
    with pytest.raises(ReportInvalid, match="cannot be read"):
        write_objects(made.volume, made.lungs, made.lesions, record, tmp_path)
    assert not list(tmp_path.glob("s*.partial"))
