"""profile.csv and kept.csv as data: complete, consistent, and applied as they say."""

import csv
from importlib.resources import files

import pytest
from planted import KEYS, ct_slice, received
from pydicom import dcmread
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag

from covnode.deidentify import profile, values
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.options import Option
from covnode.deidentify.profile import Action, build_profile, node_profile
from covnode.deidentify.safe_private import SafePrivate
from covnode.errors import ConfigurationError


def table(name):
    return list(csv.DictReader((files("covnode.deidentify") / name).read_text().splitlines()))


PROFILE, KEPT = table("profile.csv"), table("kept.csv")
BASIC = ("tag", "keyword", "basic")
SPECIFIC_CHARACTER_SET = 0x00080005


def test_the_table_has_all_rows_of_the_edition():
    assert len(PROFILE) == 656  # 655 attributes and repeating groups, and all private ones
    assert len({row["tag"] for row in PROFILE}) == 656
    assert {row["basic"] for row in PROFILE} == {"D", "Z", "X", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"}


@pytest.mark.parametrize("name", ["profile.csv", "kept.csv", "content.csv"])
def test_keywords_are_those_of_the_dictionary(name):
    for row in table(name):
        known = "X" not in row["tag"] and keyword_for_tag(int(row["tag"], 16))
        assert not known or known == row["keyword"]


def test_the_options_name_as_many_attributes_as_in_the_edition():
    """Of 2026d, without the one row that 2026c does not have."""
    assert {column: sum(bool(row[column]) for row in PROFILE) for column in PROFILE[0] if column not in BASIC} == {
        "retain_safe_private": 1,
        "retain_uids": 60,
        "retain_device_identity": 59,
        "retain_institution_identity": 10,
        "retain_patient_characteristics": 19,
        "full_dates": 169,
        "modified_dates": 169,
        "clean_descriptors": 140,
        "clean_structured_content": 4,
        "clean_graphics": 4,
    }


@pytest.mark.parametrize("option", Option)
def test_every_attribute_that_the_table_names_has_its_action_under_every_option(option):
    safe = SafePrivate({("ZQ", 0x0019, 0x01): "DS"}) if option is Option.SAFE_PRIVATE else None
    chosen, basic = build_profile({option}, safe), build_profile(())
    named = {int(row["tag"], 16): row for row in PROFILE if "X" not in row["tag"]}
    assert len(named) == 652
    for tag in {tag for tag in DicomDictionary if tag in named} | set(named):
        wanted = named[tag][option] if tag > 0x00080000 else ""
        rule = chosen.rules[tag]
        if wanted:
            assert (rule.action, rule.option) == (wanted, option)
        elif tag != SPECIFIC_CHARACTER_SET:
            assert rule == basic.rules[tag]
            assert rule.option is None


@pytest.mark.parametrize("option", Option)
def test_private_and_unknown_attributes_have_no_rule_but_by_the_list(option):
    safe = SafePrivate({("ZQ", 0x0019, 0x01): "DS"}) if option is Option.SAFE_PRIVATE else None
    chosen = build_profile({option}, safe)
    assert not [tag for tag in chosen.rules if tag >> 16 & 1]
    assert (chosen.private("ZQ", 0x00191001) is None) == (safe is None)
    assert chosen.private("ZQ", 0x00191002) is chosen.private("other", 0x00191001) is None


@pytest.mark.parametrize(
    ("column", "action"), [("basic", "Q"), ("retain_uids", "KK"), ("basic", ""), ("full_dates", "k")]
)
def test_a_table_with_an_action_that_is_none_is_refused(tmp_path, monkeypatch, column, action):
    for name in ("profile.csv", "kept.csv"):
        (tmp_path / name).write_text((files("covnode.deidentify") / name).read_text())
    monkeypatch.setattr(profile, "files", lambda _: tmp_path)
    build_profile(())
    rows = [dict(row) for row in PROFILE]
    rows[7][column] = action
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (tmp_path / "profile.csv").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match="damaged"):
        build_profile(())


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
    by_keyword = {keyword_for_tag(tag): rule.action for tag, rule in node_profile().rules.items()}
    assert by_keyword.get(keyword) == action


def test_every_person_name_is_removed_emptied_or_replaced():
    for tag, (vr, *_) in DicomDictionary.items():
        rule = node_profile().rules.get(tag)
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
