"""Each planted defect is caught, by the check that is meant to catch it, and the message names nobody."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from ct_series import write_part10
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from covnode.errors import DeliveryRefused
from covnode.interlock.refusals import Rule
from covnode.records.result import ObjectKind, PerSide, SeverityCategory

SEG, SR, FULL = ObjectKind.SEG, ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION
FRAME_BYTES = 60 * 52 // 8
IDENTITY = ("PID-4711", "HOSPITAL", "Müller", "Jörg", "ACC-77", "19600102", "20260303")


def refused(delivery):
    with pytest.raises(DeliveryRefused) as caught:
        delivery.check()
    message = str(caught.value)
    uids = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in delivery.originals[:1]}
    assert not any(value in message for value in (*IDENTITY, *uids, "2.25.")), message
    return caught.value.code


def changed(delivery, folder, **mutations):
    """Take the SEG and the objects of `mutations` (object kind -> function on its data set), and carry them out."""
    objects = {SEG: delivery.objects[SEG]}
    for kind, mutate in mutations.items():
        dataset = dcmread(delivery.objects[ObjectKind(kind)])
        mutate(dataset)
        objects[ObjectKind(kind)] = folder / f"{kind}.dcm"
        dataset.save_as(objects[ObjectKind(kind)])
    return replace(delivery, objects=objects)


# --- patient and study -------------------------------------------------------------------------------------------


def setter(keyword, value):
    return lambda dataset: setattr(dataset, keyword, value)


@pytest.mark.parametrize("kind", [SEG, SR, FULL])
@pytest.mark.parametrize(
    ("keyword", "value", "rule"),
    [
        ("PatientID", "PID-4712", Rule.PATIENT),
        ("PatientName", "Müller^Jorg", Rule.PATIENT),
        ("PatientName", "", Rule.PATIENT),
        ("PatientBirthDate", "19600103", Rule.PATIENT),
        ("PatientSex", "F", Rule.PATIENT),
        ("IssuerOfPatientID", "OTHER", Rule.PATIENT),
        ("StudyInstanceUID", "2.25.1", Rule.STUDY),
        ("AccessionNumber", "ACC-78", Rule.STUDY),
        ("StudyID", "", Rule.STUDY),
        ("StudyDate", "20260304", Rule.STUDY),
        ("PatientIdentityRemoved", "YES", Rule.IDENTITY_REMOVED),
        ("Modality", "CT", Rule.SOP_CLASS),
        ("SOPClassUID", CTImageStorage, Rule.SOP_CLASS),
        ("SeriesDescription", "covnode", Rule.DEMONSTRATION_PHRASE),
        ("SeriesInstanceUID", "2.25.01", Rule.UID),
        ("SOPInstanceUID", "2.25.1", Rule.UID),
    ],
)
def test_another_patient_study_or_kind(deliver, tmp_path, kind, keyword, value, rule):
    assert refused(changed(deliver(), tmp_path, **{str(kind): setter(keyword, value)})) == rule


def test_objects_of_a_swapped_patient(deliver, tmp_path):
    other = deliver("axial", PatientID="PID-9", PatientName="Other^One")
    assert refused(replace(deliver(), objects=other.objects)) == Rule.PATIENT


def test_another_frame_of_reference(deliver, tmp_path):
    assert refused(changed(deliver(), tmp_path, seg=setter("FrameOfReferenceUID", "2.25.5"))) == Rule.FRAME_OF_REFERENCE

    def in_image_library(report):
        item = next(item for item in walk(report) if concept(item) == "112227")
        item.UID = "2.25.5"

    assert refused(changed(deliver(), tmp_path, sr=in_image_library)) == Rule.FRAME_OF_REFERENCE


def test_objects_that_share_a_series_or_take_an_originals_uid(deliver, tmp_path):
    series = dcmread(deliver().objects[SEG]).SeriesInstanceUID
    assert refused(changed(deliver(), tmp_path, sr=setter("SeriesInstanceUID", series))) == Rule.UID
    original = dcmread(deliver().originals[0]).SeriesInstanceUID
    assert refused(changed(deliver(), tmp_path, sr=setter("SeriesInstanceUID", original))) == Rule.UID


def test_a_malformed_uid_deep_inside(deliver, tmp_path):
    def malform(seg):
        seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = "2.25.01"

    assert refused(changed(deliver(), tmp_path, seg=malform)) == Rule.UID


# --- geometry ----------------------------------------------------------------------------------------------------


def shifted(x_mm=0.0, y_mm=0.0, z_mm=0.0):
    def shift(seg):
        for groups in seg.PerFrameFunctionalGroupsSequence:
            position = groups.PlanePositionSequence[0]
            moved = np.array(position.ImagePositionPatient, float) + np.array([x_mm, y_mm, z_mm])
            position.ImagePositionPatient = [f"{value:.6f}" for value in moved]

    return shift


@pytest.mark.parametrize(
    "shift", [{"x_mm": 1}, {"y_mm": -1}, {"z_mm": 1}, {"z_mm": 2.5}, {"x_mm": 0.7}, {"y_mm": 0.02}]
)
@pytest.mark.parametrize("layout", ["axial", "oblique", "enhanced"])
def test_a_shifted_segmentation(deliver, tmp_path, layout, shift):
    assert refused(changed(deliver(layout), tmp_path, seg=shifted(**shift))) == Rule.GEOMETRY


def shared(seg):
    return seg.SharedFunctionalGroupsSequence[0]


def mirror_orientation(seg):
    shared(seg).PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def swap_orientation(seg):
    shared(seg).PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def swap_spacing(seg):
    measures = shared(seg).PixelMeasuresSequence[0]
    measures.PixelSpacing = list(reversed(measures.PixelSpacing))


def other_source_image(seg):
    images = [
        groups.DerivationImageSequence[0].SourceImageSequence[0] for groups in seg.PerFrameFunctionalGroupsSequence
    ]
    images[3].ReferencedSOPInstanceUID = images[4].ReferencedSOPInstanceUID


@pytest.mark.parametrize("mutate", [mirror_orientation, swap_orientation, swap_spacing, other_source_image])
def test_a_segmentation_that_says_it_lies_otherwise(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.GEOMETRY


def test_stored_masks_on_another_grid(deliver):
    delivery = deliver()
    for move in ([0, 0, 0, 1.0], [0, 0, 0, 0.02]):
        affine = delivery.masks.affine_lps_mm.copy()
        affine[0] += move
        assert refused(replace(delivery, masks=replace(delivery.masks, affine_lps_mm=affine))) == Rule.GEOMETRY
    mirrored = delivery.masks.affine_lps_mm @ np.diag([-1, 1, 1, 1])
    assert refused(replace(delivery, masks=replace(delivery.masks, affine_lps_mm=mirrored))) == Rule.GEOMETRY


# --- voxels and frames -------------------------------------------------------------------------------------------


def frames_of(seg):
    pixels = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    return pixels[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)


def put_frames(seg, frames):
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    seg.NumberOfFrames = len(frames)


def flip_one_frame(seg):
    frames = frames_of(seg).copy()
    frames[5] = frames[5, ::-1]
    put_frames(seg, frames)


def flip_one_voxel(seg):
    seg.PixelData = bytes([*seg.PixelData[:999], seg.PixelData[999] ^ 8, *seg.PixelData[1000:]])


def exchange_two_frames(seg):
    frames = frames_of(seg).copy()
    frames[[4, 8]] = frames[[8, 4]]
    put_frames(seg, frames)


def big_endian_bits(seg):
    put_frames(
        seg,
        np.unpackbits(np.packbits(frames_of(seg).ravel(), bitorder="big"), bitorder="little").reshape(
            frames_of(seg).shape
        ),
    )


@pytest.mark.parametrize("mutate", [flip_one_frame, flip_one_voxel, exchange_two_frames, big_endian_bits])
def test_voxels_that_differ_from_the_stored_masks(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.VOXELS


def test_masks_of_another_analysis(deliver):
    delivery = deliver()
    labels = delivery.masks.lesion_labels.copy()
    inside = np.argwhere(labels == 1)
    labels[tuple(inside[len(inside) // 2])] = 0
    assert refused(replace(delivery, masks=replace(delivery.masks, lesion_labels=labels))) == Rule.VOXELS


def test_mirrored_sides(deliver, tmp_path):
    def mirror(seg):
        put_frames(seg, frames_of(seg)[:, :, ::-1])

    assert refused(changed(deliver(), tmp_path, seg=mirror)) == Rule.SIDE


def exchange(seg, *keywords):
    left, right = seg.SegmentSequence[:2]
    for keyword in keywords:
        first, second = copy.deepcopy(left[keyword].value), copy.deepcopy(right[keyword].value)
        setattr(left, keyword, second)
        setattr(right, keyword, first)


def test_left_and_right_exchanged_throughout(deliver, tmp_path):
    mutate = lambda seg: exchange(seg, "SegmentedPropertyTypeCodeSequence", "SegmentLabel")  # noqa: E731
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.SIDE


def test_left_and_right_exchanged_before_anything_was_written(deliver, tmp_path):
    """The lungs stage had it wrong, and masks, segmentation, report and record agree with each other."""
    swap = np.array([0, 2, 1], np.uint8)
    delivery = deliver("axial", relabel=swap)
    assert np.array_equal(delivery.masks.lung_labels, swap[deliver().masks.lung_labels])
    assert refused(delivery) == Rule.SIDE


@pytest.mark.parametrize("keyword", ["SegmentedPropertyTypeCodeSequence", "SegmentLabel"])
def test_codes_that_do_not_go_together(deliver, tmp_path, keyword):
    assert refused(changed(deliver(), tmp_path, seg=lambda seg: exchange(seg, keyword))) == Rule.SEGMENT_CODES


def drop_modifier(seg):
    del seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence


def wrong_category(seg):
    seg.SegmentSequence[2].SegmentedPropertyCategoryCodeSequence[0].CodeValue = "91723000"


def two_left_lungs(seg):
    for keyword in ("SegmentedPropertyTypeCodeSequence", "SegmentLabel"):
        setattr(seg.SegmentSequence[1], keyword, copy.deepcopy(seg.SegmentSequence[0][keyword].value))


@pytest.mark.parametrize("mutate", [drop_modifier, wrong_category, two_left_lungs])
def test_wrong_segment_codes(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.SEGMENT_CODES


def test_wrong_segment_numbers(deliver, tmp_path):
    assert refused(
        changed(deliver(), tmp_path, seg=lambda seg: setattr(seg.SegmentSequence[0], "SegmentNumber", 7))
    ) == (Rule.SEGMENT_NUMBERS)

    def lost_frame(seg):
        seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9

    assert refused(changed(deliver(), tmp_path, seg=lost_frame)) == Rule.SEGMENT_NUMBERS


def keep_frames(seg, kept):
    groups = seg.PerFrameFunctionalGroupsSequence
    put_frames(seg, frames_of(seg)[kept])
    seg.PerFrameFunctionalGroupsSequence = [copy.deepcopy(groups[index]) for index in kept]


def test_a_missing_frame(deliver, tmp_path):
    drop = lambda seg: keep_frames(seg, [i for i in range(seg.NumberOfFrames) if i != 6])  # noqa: E731
    assert refused(changed(deliver(), tmp_path, seg=drop)) == Rule.FRAMES


def test_a_frame_that_is_there_twice(deliver, tmp_path):
    double = lambda seg: keep_frames(seg, [*range(seg.NumberOfFrames), 3])  # noqa: E731
    assert refused(changed(deliver(), tmp_path, seg=double)) == Rule.FRAMES


def test_a_missing_segment(deliver, tmp_path):
    def drop_last(seg):
        numbers = [
            g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in seg.PerFrameFunctionalGroupsSequence
        ]
        keep_frames(seg, [i for i, number in enumerate(numbers) if number != 4])
        seg.SegmentSequence = seg.SegmentSequence[:3]

    assert refused(changed(deliver(), tmp_path, seg=drop_last)) == Rule.SEGMENT_CODES


def truncate(seg):
    seg.PixelData = seg.PixelData[:-FRAME_BYTES]


def fewer_groups(seg):
    del seg.PerFrameFunctionalGroupsSequence[-1]


def call_it_labelmap(seg):
    seg.SegmentationType = "FRACTIONAL"


@pytest.mark.parametrize("mutate", [truncate, fewer_groups, call_it_labelmap])
def test_pixel_data_of_another_form(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.ENCODING


# --- references --------------------------------------------------------------------------------------------------


def source_of(seg, index=4):
    return seg.PerFrameFunctionalGroupsSequence[index].DerivationImageSequence[0].SourceImageSequence


def no_source(seg):
    source_of(seg).clear()


def unknown_source(seg):
    source_of(seg)[0].ReferencedSOPInstanceUID = "2.25.123"


def source_of_other_class(seg):
    source_of(seg)[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"


def unlisted_source(seg):
    del seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[9]


def unknown_listed(seg):
    item = copy.deepcopy(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0])
    item.ReferencedSOPInstanceUID = "2.25.123"
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence.append(item)


def unlisted_source_of_the_whole(seg):
    seg.SourceImageSequence[0].ReferencedSOPInstanceUID = "2.25.123"


def other_series(seg):
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.321"


def no_series(seg):
    del seg.ReferencedSeriesSequence


@pytest.mark.parametrize(
    "mutate",
    [
        no_source,
        unknown_source,
        source_of_other_class,
        unlisted_source,
        unknown_listed,
        unlisted_source_of_the_whole,
        other_series,
        no_series,
    ],
)
def test_wrong_references_of_the_segmentation(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.REFERENCES


def test_another_studys_segmentation_under_this_studys_identity(deliver, tmp_path):
    """Same patient and geometry, other images: the attributes have been made to fit."""
    other = deliver("axial", SOPInstanceUID=lambda k: f"2.25.55{k}", SeriesInstanceUID="2.25.55")
    ours = deliver()
    objects = {**ours.objects, SEG: other.objects[SEG]}
    assert refused(replace(ours, objects=objects)) == Rule.REFERENCES
    another_study = deliver("reversed")
    assert refused(replace(ours, objects={**ours.objects, SEG: another_study.objects[SEG]})) == Rule.STUDY


def evidence(report):
    return report.CurrentRequestedProcedureEvidenceSequence[0]


def series_of(report, *, images):
    return max(
        evidence(report).ReferencedSeriesSequence, key=lambda s: len(s.ReferencedSOPSequence) * (1 if images else -1)
    )


def missing_image(report):
    del series_of(report, images=True).ReferencedSOPSequence[3]


def missing_segmentation(report):
    evidence(report).ReferencedSeriesSequence.remove(series_of(report, images=False))


def other_segmentation(report):
    series_of(report, images=False).ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.9"


def missing_everywhere(report):
    uid = series_of(report, images=True).ReferencedSOPSequence[3].ReferencedSOPInstanceUID
    missing_image(report)
    for group in walk(report):
        if concept(group) == "126200":
            group.ContentSequence = [
                item
                for item in group.ContentSequence
                if "ReferencedSOPSequence" not in item or item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID != uid
            ]


def no_evidence(report):
    del report.CurrentRequestedProcedureEvidenceSequence


def other_evidence(report):
    report.PertinentOtherEvidenceSequence = [copy.deepcopy(evidence(report))]


def other_source_series(report):
    next(item for item in walk(report) if concept(item) == "121232").UID = "2.25.8"


@pytest.mark.parametrize(
    "mutate",
    [
        missing_image,
        missing_segmentation,
        other_segmentation,
        missing_everywhere,
        no_evidence,
        other_evidence,
        other_source_series,
    ],
)
def test_wrong_references_of_a_report(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.REFERENCES


def test_evidence_of_another_study(deliver, tmp_path):
    mutate = lambda report: setattr(evidence(report), "StudyInstanceUID", "2.25.4")  # noqa: E731
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.STUDY


def test_one_uid_on_several_images(deliver):
    delivery = deliver("axial", SOPInstanceUID="2.25.77")
    assert refused(delivery) == Rule.AMBIGUOUS_REFERENCES


def test_one_uid_on_two_images_of_which_the_result_uses_neither_twice(deliver, tmp_path):
    delivery = deliver()
    other = dcmread(delivery.originals[3])
    other.PixelData = bytes(len(other.PixelData))
    write_part10(other, tmp_path / "other.dcm")
    assert (
        refused(replace(delivery, originals=[*delivery.originals, tmp_path / "other.dcm"])) == Rule.AMBIGUOUS_REFERENCES
    )


def test_originals_that_are_gone_unreadable_or_of_two_patients(deliver, tmp_path):
    delivery = deliver()
    assert refused(replace(delivery, originals=delivery.originals[:-1])) in {Rule.REFERENCES, Rule.GEOMETRY}
    with pytest.raises(DeliveryRefused) as caught:
        replace(delivery, originals=[]).check()
    assert caught.value.code == Rule.ORIGINALS
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM file")
    assert refused(replace(delivery, originals=[*delivery.originals, broken])) == Rule.ORIGINALS
    other = dcmread(delivery.originals[0])
    other.PatientID, other.SOPInstanceUID = "PID-4712", "2.25.3"
    write_part10(other, tmp_path / "other.dcm")
    assert refused(replace(delivery, originals=[*delivery.originals, tmp_path / "other.dcm"])) == Rule.ORIGINALS


# --- report ------------------------------------------------------------------------------------------------------


def walk(item):
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def concept(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else None


def items(report, code):
    return [item for item in walk(report) if concept(item) == code]


def remove(report, code, index=0):
    wanted = items(report, code)[index]
    for holder in walk(report):
        if any(item is wanted for item in holder.get("ContentSequence", [])):
            holder.ContentSequence = [item for item in holder.ContentSequence if item is not wanted]


def value_of(report, code, index=0):
    return items(report, code)[index].MeasuredValueSequence[0]


def stale_number(report):
    value = value_of(report, "CN140")
    value.NumericValue = value.FloatingPointValue = float(value.NumericValue) + 0.02


def stale_text_number_alone(report):
    value_of(report, "CN110").NumericValue = "1.0"


def stale_float_alone(report):
    value_of(report, "CN110").FloatingPointValue = 1.0


def stale_segment_volume(report):
    value = value_of(report, "118565006", 2)
    value.NumericValue = value.FloatingPointValue = float(value.NumericValue) + 1


def number_that_is_no_number(report):
    value_of(report, "CN110").FloatingPointValue = float("nan")


def missing_number(report):
    remove(report, "CN131")


def number_twice(report):
    group = next(item for item in items(report, "125007") if any(concept(i) == "CN110" for i in item.ContentSequence))
    group.ContentSequence.append(copy.deepcopy(items(report, "CN110")[0]))


def unknown_number(report):
    items(report, "CN110")[0].ConceptNameCodeSequence[0].CodeValue = "CN999"


def number_outside(report):
    report.ContentSequence.append(copy.deepcopy(items(report, "CN110")[0]))


def number_in_a_segments_group(report):
    items(report, "125007")[0].ContentSequence.append(copy.deepcopy(items(report, "CN110")[0]))


@pytest.mark.parametrize(
    "mutate",
    [
        stale_number,
        stale_text_number_alone,
        stale_float_alone,
        stale_segment_volume,
        number_that_is_no_number,
        missing_number,
        number_twice,
        unknown_number,
        number_outside,
        number_in_a_segments_group,
    ],
)
@pytest.mark.parametrize("kind", [SR, FULL])
def test_numbers_that_are_not_the_records(deliver, tmp_path, kind, mutate):
    assert refused(changed(deliver(), tmp_path, **{str(kind): mutate})) == Rule.FIGURE


def test_a_record_that_has_moved_on(deliver):
    delivery = deliver()
    for change in (
        {"covid_probability": 0.82},
        {"ctsi": 10},
        {"severity_category": SeverityCategory.SEVERE},
        {"severity_score": None},
        {"affected_percent": PerSide(total=None, left=1.0, right=2.0)},
        {"lung_volume_ml": delivery.result.lung_volume_ml.model_copy(update={"left": 9.0})},
    ):
        result = delivery.result.model_copy(update=change)
        assert refused(replace(delivery, result=result)) == Rule.FIGURE


def test_a_volume_that_the_shown_voxels_do_not_have(deliver):
    """Record and report agree with each other, but not with the segmentation."""
    wrong = PerSide(total=5000.0, left=2000.0, right=3000.0)
    assert refused(deliver(result={"lung_volume_ml": wrong})) == Rule.FIGURE


@pytest.mark.parametrize("code", ["118565006", "CN140", "CN110"])
def test_a_wrong_unit(deliver, tmp_path, code):
    def mutate(report):
        value_of(report, code).MeasurementUnitsCodeSequence[0].CodeValue = "mm3"

    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.UNIT


def test_a_demonstration_figure_in_the_plain_report(deliver, tmp_path):
    delivery = deliver()
    posing = replace(delivery, objects={SEG: delivery.objects[SEG], SR: delivery.objects[FULL]})
    assert refused(posing) == Rule.DEMONSTRATION_FIGURE
    full = dcmread(delivery.objects[FULL])

    def smuggle(code):
        return lambda report: items(report, "C0034375")[0].ContentSequence.append(copy.deepcopy(items(full, code)[0]))

    for code in ("CN201", "CN202", "CN203", "246112005"):
        assert refused(changed(delivery, tmp_path, sr=smuggle(code))) == Rule.DEMONSTRATION_FIGURE


def test_a_report_that_does_not_say_that_it_is_a_demonstration(deliver, tmp_path):
    def mutate(report):
        for item in walk(report):
            if item.ValueType == "TEXT":
                item.TextValue = item.TextValue.replace("demonstration", "validated")

    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.DEMONSTRATION_PHRASE


def wrong_title(report):
    report.ConceptNameCodeSequence[0].CodeValue = "126001"


def wrong_template(report):
    report.ContentTemplateSequence[0].TemplateIdentifier = "2000"


@pytest.mark.parametrize("mutate", [wrong_title, wrong_template])
def test_another_title(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.TITLE


def test_a_report_that_claims_to_be_verified(deliver, tmp_path):
    assert refused(changed(deliver(), tmp_path, sr=setter("VerificationFlag", "VERIFIED"))) == Rule.VERIFICATION


def no_tracking_uid_in_segmentation(seg):
    del seg.SegmentSequence[1].TrackingUID


def no_tracking_id_in_segmentation(seg):
    seg.SegmentSequence[1].TrackingID = ""


def same_tracking_uid(seg):
    seg.SegmentSequence[1].TrackingUID = seg.SegmentSequence[0].TrackingUID


@pytest.mark.parametrize("mutate", [no_tracking_uid_in_segmentation, no_tracking_id_in_segmentation, same_tracking_uid])
def test_tracking_in_the_segmentation(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.TRACKING


def no_tracking_uid(report):
    remove(report, "112040")


def no_tracking_id(report):
    remove(report, "112039", 2)


def other_tracking_uid(report):
    items(report, "112040")[1].UID = "2.25.6"


def exchanged_segment_numbers(report):
    first, second = (item.ReferencedSOPSequence[0] for item in items(report, "121191")[:2])
    first.ReferencedSegmentNumber, second.ReferencedSegmentNumber = 2, 1


@pytest.mark.parametrize("mutate", [no_tracking_uid, no_tracking_id, other_tracking_uid, exchanged_segment_numbers])
def test_tracking_in_a_report(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.TRACKING


def no_segment_reference(report):
    remove(report, "121191")


def no_segment_number(report):
    del items(report, "121191")[2].ReferencedSOPSequence[0].ReferencedSegmentNumber


def several_segment_numbers(report):
    items(report, "121191")[2].ReferencedSOPSequence[0].ReferencedSegmentNumber = [3, 4]


def segment_of_another(report):
    items(report, "121191")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.7"


def segment_that_is_not_there(report):
    items(report, "121191")[3].ReferencedSOPSequence[0].ReferencedSegmentNumber = 5


@pytest.mark.parametrize(
    "mutate",
    [no_segment_reference, no_segment_number, several_segment_numbers, segment_of_another, segment_that_is_not_there],
)
def test_references_to_segments(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.SEGMENT_REFERENCE


def test_the_other_side_in_a_report(deliver, tmp_path):
    def mutate(report):
        items(report, "272741003")[0].ConceptCodeSequence[0].CodeValue = "24028007"

    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.SEGMENT_CODES


# --- files -------------------------------------------------------------------------------------------------------


def test_an_object_that_cannot_be_read(deliver, tmp_path):
    delivery = deliver()
    for kind in (SEG, SR):
        whole = delivery.objects[kind].read_bytes()
        for content in (b"", whole[:100], whole[: len(whole) // 2]):
            path = tmp_path / "cut.dcm"
            path.write_bytes(content)
            assert refused(replace(delivery, objects={**delivery.objects, kind: path}))
    gone = replace(delivery, objects={**delivery.objects, SR: tmp_path / "gone.dcm"})
    assert refused(gone) == Rule.UNREADABLE


def test_a_report_without_its_segmentation(deliver):
    delivery = deliver()
    assert refused(replace(delivery, objects={SR: delivery.objects[SR]})) == Rule.MISSING_OBJECT


@pytest.mark.parametrize("keyword", ["SegmentSequence", "NumberOfFrames", "Rows", "PerFrameFunctionalGroupsSequence"])
def test_an_object_that_lacks_what_it_must_have(deliver, tmp_path, keyword):
    mutated = changed(deliver(), tmp_path, seg=lambda seg: delattr(seg, keyword))
    assert refused(mutated) in {Rule.UNREADABLE, Rule.ENCODING, Rule.SEGMENT_NUMBERS}
