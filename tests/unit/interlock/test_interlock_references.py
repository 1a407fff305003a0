"""A reference to anything but the received images and the segmentation is refused."""

import copy
from dataclasses import replace

import pytest
from ct_series import write_part10
from planting import SEG, changed, concept, refused, walk
from pydicom import dcmread

from covnode.errors import DeliveryRefused
from covnode.interlock.refusals import Rule


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
