"""profile.csv and kept.csv as data: complete, consistent, and applied as they say."""

import csv
from importlib.resources import files

import pytest
from planted import KEYS, ct_slice, received
from pydicom import dcmread
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag

from covnode.deidentify import values
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.profile import Action, rules


def table(name):
    return list(csv.DictReader((files("covnode.deidentify") / name).read_text().splitlines()))


PROFILE, KEPT = table("profile.csv"), table("kept.csv")


def test_the_table_has_all_rows_of_the_edition():
    assert len(PROFILE) == 655
    assert len({row["tag"] for row in PROFILE}) == 655
    assert {row["basic"] for row in PROFILE} == {"D", "Z", "X", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"}


@pytest.mark.parametrize("name", ["profile.csv", "kept.csv"])
def test_keywords_are_those_of_the_dictionary(name):
    for row in table(name):
        known = "X" not in row["tag"] and keyword_for_tag(int(row["tag"], 16))
        assert not known or known == row["keyword"]


def test_no_attribute_of_the_table_is_in_the_list_of_what_stays():
    assert not {row["tag"] for row in PROFILE} & {row["tag"] for row in KEPT}


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("PatientName", Action.ZERO),
        ("PatientID", Action.DUMMY),
        ("PatientBirthDate", Action.ZERO),
        ("PatientAge", Action.REMOVE),
        ("AccessionNumber", Action.ZERO),
        ("InstitutionAddress", Action.REMOVE),
        ("SOPInstanceUID", Action.UID),
        ("StudyDate", Action.CLEAN),
        ("ReferencedStudySequence", Action.REMOVE),
        ("AcquisitionContextSequence", Action.ZERO),
        ("SourceImageSequence", Action.UID),
        ("OverlayComments", None),
        ("SeriesDescription", Action.REMOVE),
        ("PixelSpacing", Action.KEEP),
        ("SpecificCharacterSet", None),
    ],
)
def test_known_actions(keyword, action):
    by_keyword = {keyword_for_tag(tag): rule.action for tag, rule in rules().items()}
    assert by_keyword.get(keyword) == action


def test_every_person_name_is_removed_emptied_or_replaced():
    for tag, (vr, *_) in DicomDictionary.items():
        rule = rules().get(tag)
        if vr == "PN" and rule is not None:
            assert rule.action in {Action.REMOVE, Action.ZERO, Action.DUMMY}


def test_free_text_stays_in_three_attributes_only():
    free = {row["keyword"] for row in KEPT if row["values"] == "*"}
    assert free == {"Manufacturer", "ManufacturerModelName", "ConvolutionKernel"}


def test_what_only_an_enhanced_ct_must_have_is_a_dummy(tmp_path):
    assert {row["keyword"] for row in KEPT if row["values"] == "dummy"} == {"SoftwareVersions", "ImageFilter"}
    dataset = ct_slice(SoftwareVersions="Zq 1.0", ImageFilter="Zq", FilterType="Zq", FilterMaterial="ALUMINUM")
    series, _ = deidentify_series(received(tmp_path / "in", [dataset]), tmp_path / "out", KEYS)
    copy = dcmread(series.files[0])
    assert (copy.SoftwareVersions, copy.ImageFilter, copy.FilterType) == ("REMOVED", "REMOVED", "")
    assert copy.FilterMaterial == "ALUMINUM"


def test_every_kept_text_is_bound_to_terms():
    for row in KEPT:
        if dictionary_VR(int(row["tag"], 16)) in {"CS", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE", "PN"}:
            assert row["values"], row["keyword"]


@pytest.mark.parametrize(
    "vr", ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "US", "UL", "FD", "AT"]
)
def test_dummies_are_valid_for_their_vr(vr):
    dummy = values.dummy(vr)
    limits = {
        "AE": 16,
        "AS": 4,
        "CS": 16,
        "DA": 8,
        "DS": 16,
        "DT": 26,
        "IS": 12,
        "LO": 64,
        "PN": 64,
        "SH": 16,
        "TM": 14,
    }
    assert 0 < len(dummy) <= limits.get(vr, 8)
    assert vr not in values.BINARY_BYTES or len(dummy) == values.BINARY_BYTES[vr]


def test_actions_on_an_instance(tmp_path):
    dataset = ct_slice(ProtocolName="Zq routine", InstitutionAddress="Zq 1", DeviceSerialNumber="ZQ1", EthnicGroup="Zq")
    dataset.InstitutionCodeSequence = []
    series, _ = deidentify_series(received(tmp_path / "in", [dataset]), tmp_path / "out", KEYS)
    copy = dcmread(series.files[0])
    assert copy.ProtocolName == copy.DeviceSerialNumber == "REMOVED"  # X/D and X/Z/D
    assert copy.ReferringPhysicianName == ""  # Z
    assert "InstitutionAddress" not in copy  # X
    assert "EthnicGroup" not in copy
