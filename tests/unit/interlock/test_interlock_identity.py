"""Another patient, study or kind of object is refused."""

from dataclasses import replace

import pytest
from planting import FULL, SEG, SR, changed, concept, refused, setter, walk
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from covnode.interlock.refusals import Rule


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
