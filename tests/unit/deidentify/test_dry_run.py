"""The dry run says what the engine then does, for every attribute at every depth."""

import pytest
from planted import KEYS, Sentinels, ct_slice, full_of_identity, received
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_dict
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covnode.deidentify.dry_run import attributes_of
from covnode.deidentify.elements import UnreadableError
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.profile import node_profile

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
BASIC = "PS3.15 Table E.1-1, Basic Profile"


def foretold(tmp_path, dataset):
    (instance,) = received(tmp_path / "in", [dataset]).instances
    return {attribute.path: attribute for attribute in attributes_of(instance.path)}


def paths_of(dataset, above=""):
    for element in dataset:
        tag = element.tag
        path = f"{above}({tag.group:04X},{tag.element:04X})"
        yield path
        if element.VR == "SQ":
            for item in element.value or ():
                yield from paths_of(item, f"{path}>")


@pytest.mark.parametrize("transfer_syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_every_attribute_at_every_depth_is_listed_and_no_value(tmp_path, transfer_syntax):
    sentinel = Sentinels()
    dataset = full_of_identity(sentinel, transfer_syntax=transfer_syntax)
    found = foretold(tmp_path, dataset)
    original = dcmread(tmp_path / "in" / "000.dcm")
    listed = set(paths_of(original)) | set(paths_of(original.file_meta))
    assert not listed - set(found)
    # in implicit VR pydicom takes a private sequence for bytes, we do not
    assert all(transfer_syntax.is_implicit_VR and "(0029,1003)>" in path for path in set(found) - listed)
    assert any(path.count(">") >= 4 and "(0029,1003)" in path for path in found)
    assert not sentinel.found_in(repr([(a, a.path, a.keyword) for a in found.values()]).encode())


@pytest.mark.parametrize("transfer_syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_what_is_said_to_be_removed_is_not_in_the_copy_and_the_rest_is(tmp_path, transfer_syntax):
    dataset = full_of_identity(Sentinels(), transfer_syntax=transfer_syntax)
    found = foretold(tmp_path, dataset)
    copy = deidentify_series(received(tmp_path / "in", [dataset]), tmp_path / "out", KEYS)[0].files[0]
    copied = dcmread(copy)
    left = set(paths_of(copied)) | set(paths_of(copied.file_meta))
    stays = {path for path, attribute in found.items() if attribute.action.value != "X"}
    assert not left & (set(found) - stays)
    assert len(stays) > 50
    assert not stays - left


@pytest.mark.parametrize(
    ("path", "action", "source"),
    [
        ("(0010,0010)", "Z", BASIC),
        ("(0010,0020)", "D", BASIC),
        ("(0008,0018)", "U", BASIC),
        ("(0008,0020)", "C", "PS3.15 Table E.1-1, Retain Longitudinal Temporal Information Modified Dates Option"),
        ("(0008,0080)", "D", BASIC),
        ("(0010,1040)", "X", BASIC),
        ("(0018,0050)", "K", "kept list of covnode (kept.csv)"),
        ("(0029,1001)", "X", f"{BASIC}, private attributes: removed"),
        ("(0029,1003)>(0010,0010)", "X", "removed with the sequence that holds it"),
        ("(0040,0275)>(0010,0010)", "X", "removed with the sequence that holds it"),
        ("(5200,9229)>(0010,0010)", "Z", BASIC),
        ("(5200,9229)>(0029,1002)", "X", f"{BASIC}, private attributes: removed"),
        ("(0018,6666)", "X", "PS3.15 E.1.1 / not listed: removed"),
        ("(6000,3000)", "X", BASIC),
        ("(5000,3000)", "X", BASIC),
        (
            "(7FE0,0010)",
            "K",
            "Pixel Data as sent, unless text is found in them (PS3.15 E.3.1): see frames_looked_at of the series",
        ),
        ("(FFFC,FFFC)", "X", "after Pixel Data: removed"),
        ("(0002,0016)", "X", "PS3.10 section 7.1: file meta information written anew"),
    ],
)
def test_the_action_and_its_clause(tmp_path, path, action, source):
    found = foretold(tmp_path, full_of_identity(Sentinels()))[path]
    assert (found.action, found.source) == (action, source)


def test_a_registered_code_stays_and_what_lies_beside_it_does_not(tmp_path):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", "SCT", "Chest"
    code.PatientName = "Doe^Jane"
    found = foretold(tmp_path, ct_slice(AnatomicRegionSequence=[code]))
    actions = {path[12:]: found[path].action.value for path in found if path.startswith("(0008,2218)>")}
    assert actions == {"(0008,0100)": "K", "(0008,0102)": "K", "(0008,0104)": "K", "(0010,0010)": "X"}


def test_what_says_that_a_file_is_deidentified_is_replaced(tmp_path):
    found = foretold(tmp_path, ct_slice(PatientIdentityRemoved="NO"))["(0012,0062)"]
    assert (found.action, found.keyword) == ("D", "PatientIdentityRemoved")


def test_a_vr_that_contradicts_the_standard_removes_the_attribute(tmp_path):
    dataset = ct_slice(SliceThickness=None)
    dataset.add_new(0x00180050, "OB", b"Doe^Jane")
    found = foretold(tmp_path, dataset)["(0018,0050)"]
    assert (found.action, found.vr) == ("X", "OB")
    assert "contradicts" in found.source


def test_bytes_that_only_begin_like_an_item_are_no_sequence(tmp_path):
    dataset = ct_slice()
    dataset.add_new(0x00091001, "UN", b"\xfe\xff\x00\xe0\xff\x00\x00\x00Zqsentinel")
    assert "(0009,1001)" in foretold(tmp_path, dataset)


@pytest.mark.parametrize("content", [b"", b"no DICOM", bytes(128) + b"DICM"], ids=["empty", "text", "bare"])
def test_what_is_no_data_set_is_unreadable(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UnreadableError):
        attributes_of(path)


def test_every_rule_has_its_clause():
    profile = node_profile()
    assert set(profile.rules) == set(profile.clauses)
    assert profile.clauses[keyword_dict["Modality"]].startswith("kept list")
