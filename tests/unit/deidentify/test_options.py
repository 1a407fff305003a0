"""What each option of PS3.15 Annex E does to a copy, at depths 0 to 3, and what the copy says of it."""

import pytest
from planted import FRAME_UID, KEYS, SERIES_UID, STUDY_UID, Sentinels, ct_slice, full_of_identity, received
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.options import METHODS, Option
from covnode.deidentify.profile import Action, build_profile
from covnode.errors import ConfigurationError, DeidentificationRefused

CHAIN = ("ReferencedSeriesSequence", "SourceImageSequence", "FrameContentSequence")
OPTIONS = [option for option in Option if option is not Option.SAFE_PRIVATE]
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def copied(tmp_path, dataset, *options):
    series = received(tmp_path / "in", [dataset])
    return deidentify_series(series, tmp_path / "out", KEYS, build_profile(options))[0].files[0]


def at_depth(depth, **attributes):
    """A slice with attributes in an item that lies so deep."""
    dataset = ct_slice()
    place = dataset
    for keyword in CHAIN[:depth]:
        item = Dataset()
        setattr(place, keyword, [item])
        place = item
    for keyword, value in attributes.items():
        setattr(place, keyword, value)
    return dataset


def found_at(file, depth):
    place = dcmread(file)
    for keyword in CHAIN[:depth]:
        (place,) = place[keyword].value
    return place


RETAINED = [
    (Option.INSTITUTION_IDENTITY, {"InstitutionName": "Zqmarien Hospital", "InstitutionAddress": "12 Zq\r\nstreet"}),
    (Option.DEVICE_IDENTITY, {"DeviceSerialNumber": "ZQ-77123", "StationName": "ZQCT1", "GantryID": "Zq 4"}),
    (Option.PATIENT_CHARACTERISTICS, {"PatientAge": "071Y", "PatientSex": "F", "PatientWeight": "71.5"}),
    (Option.PATIENT_CHARACTERISTICS, {"SmokingStatus": "NO", "EthnicGroup": "Zqgroup", "PregnancyStatus": 1}),
    (Option.FULL_DATES, {"SeriesDate": "20220402", "AcquisitionTime": "101213.5", "TimezoneOffsetFromUTC": "+0100"}),
    (Option.FULL_DATES, {"AcquisitionDateTime": "20220401101112.5+0100", "ContentDate": "20220403"}),
    (Option.UIDS, {"ReferencedSOPInstanceUID": "1.2.840.99999.1.7", "IrradiationEventUID": "1.2.840.99999.8"}),
    (Option.DEVICE_IDENTITY, {"DeviceUID": "1.2.840.99999.9", "DateOfLastCalibration": "20210304"}),
]


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize(("option", "attributes"), RETAINED, ids=lambda value: str(value)[:40])
def test_a_retaining_option_keeps_what_it_names_and_nothing_else_does(tmp_path, option, attributes, depth):
    others = set(OPTIONS) - {option, Option.MODIFIED_DATES}
    for number, options in enumerate([{option}, {option, Option.DESCRIPTORS}, others, ()]):
        file = copied(tmp_path / str(number), at_depth(depth, **attributes), *options)
        place, sent = found_at(file, depth), found_at(tmp_path / str(number) / "in" / "000.dcm", depth)
        for keyword in attributes:
            is_named = option in options or (keyword == "DeviceUID" and Option.UIDS in options)
            is_named |= keyword == "DateOfLastCalibration" and Option.FULL_DATES in options
            assert (place.get(keyword) == sent[keyword].value) == is_named, (keyword, options)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_retained_uids_are_those_of_the_original_in_the_file_meta_too(tmp_path, syntax):
    copy = dcmread(copied(tmp_path, ct_slice(3, syntax), Option.UIDS))
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID == "1.2.840.99999.1.3"
    assert (copy.StudyInstanceUID, copy.SeriesInstanceUID) == (STUDY_UID, SERIES_UID)
    assert copy.FrameOfReferenceUID == FRAME_UID
    assert copy.PatientID.startswith("CN-")


def test_a_uid_that_is_none_is_replaced_though_uids_are_retained(tmp_path):
    dataset = at_depth(1, IrradiationEventUID="1.2.3")
    dataset.ReferencedSeriesSequence[0]["IrradiationEventUID"]._value = "Doe^Jane"
    assert found_at(copied(tmp_path, dataset, Option.UIDS), 1).IrradiationEventUID.startswith("2.25.")


def test_values_that_their_vr_does_not_allow_are_not_retained(tmp_path):
    dataset = ct_slice()
    dataset.add_new("SmokingStatus", "LO", "asks Mrs. Zq")
    dataset.add_new("PatientAge", "LO", "seventy")
    dataset.add_new("PatientWeight", "LO", "Zq kg")
    copy = dcmread(copied(tmp_path, dataset, Option.PATIENT_CHARACTERISTICS))
    assert (copy.SmokingStatus, copy.PatientAge, copy.PatientWeight) == ("", "", None)


@pytest.mark.parametrize(("charset", "name"), [("ISO_IR 100", "Universitätsklinik"), ("ISO_IR 192", "病院 Zq")])
def test_texts_are_retained_in_their_character_set(tmp_path, charset, name):
    dataset = ct_slice(SpecificCharacterSet=charset, InstitutionName=name)
    file = copied(tmp_path, dataset, Option.INSTITUTION_IDENTITY)
    assert (dcmread(file).InstitutionName, dcmread(file).SpecificCharacterSet) == (name, charset)
    dataset.PatientName = f"{name.split()[0]}^Jane"
    with pytest.raises(DeidentificationRefused, match="word of a name"):
        copied(tmp_path / "b", dataset, Option.INSTITUTION_IDENTITY)


def test_codes_of_an_institution_are_retained_and_what_lies_beside_them_is_not(tmp_path):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "ZQ1", "99ZQ", "Zqmarien"
    code.PatientName = "Doe^Jane"
    for depth in range(4):
        dataset = at_depth(depth, InstitutionCodeSequence=[code])
        file = copied(tmp_path / str(depth), dataset, Option.INSTITUTION_IDENTITY)
        (kept,) = found_at(file, depth).InstitutionCodeSequence
        assert [element.value for element in kept] == ["ZQ1", "99ZQ", "Zqmarien"]


@pytest.mark.parametrize("depth", range(4))
def test_clean_descriptions_stay_and_others_go_as_the_basic_profile_says(tmp_path, depth):
    clean = {"StudyDescription": "CT Thorax 1.5 mm B40f", "ProtocolName": "chest routine", "ContrastBolusAgent": "oral"}
    place = found_at(copied(tmp_path, at_depth(depth, **clean), Option.DESCRIPTORS), depth)
    assert {keyword: place[keyword].value for keyword in clean} == clean
    other = dict.fromkeys(clean, "chest of Mrs. Zq")
    place = found_at(copied(tmp_path / "b", at_depth(depth, **other), Option.DESCRIPTORS), depth)
    assert "StudyDescription" not in place  # X
    assert (place.ProtocolName, place.ContrastBolusAgent) == ("REMOVED", "REMOVED")  # X/D, Z/D
    place = found_at(copied(tmp_path / "c", at_depth(depth, **clean)), depth)
    assert "StudyDescription" not in place


def test_a_clean_word_that_is_a_name_too_is_not_clean(tmp_path):
    dataset = ct_slice(PatientName="Chest^Ann", StudyDescription="chest routine", SeriesDescription="thorax routine")
    copy = dcmread(copied(tmp_path, dataset, Option.DESCRIPTORS))
    assert "StudyDescription" not in copy
    assert copy.SeriesDescription == "thorax routine"


def coded(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(value_type, name, **value):
    item = Dataset()
    item.ValueType, item.ConceptNameCodeSequence = value_type, [coded(*name)]
    for keyword, entry in value.items():
        setattr(item, keyword, entry)
    return item


def numeric(figure):
    item = Dataset()
    item.NumericValue, item.MeasurementUnitsCodeSequence = figure, [coded("mm", "UCUM", "Zq")]
    return item


FINDING, DIAMETER = ("121071", "DCM", "Zq finding"), ("81827009", "SCT", "Diameter")
SEX = ("121032", "DCM", "Subject Sex")


@pytest.mark.parametrize("keyword", ["AcquisitionContextSequence", "ContentSequence"])
def test_of_content_items_codes_and_figures_stay_with_registered_meanings(tmp_path, keyword):
    items = [
        content("CODE", FINDING, ConceptCodeSequence=[coded("39607008", "SCT", "Zq lung")]),
        content("NUM", DIAMETER, MeasuredValueSequence=[numeric("12")]),
        content("CONTAINER", FINDING, ContentSequence=[content("NUM", DIAMETER, MeasuredValueSequence=[numeric("3")])]),
        content("TEXT", FINDING, TextValue="Zq text"),
        content("PNAME", FINDING, PersonName="Zq^Ann"),
        content("CODE", FINDING, ConceptCodeSequence=[coded("Z1", "99ZQ", "Zq own")]),
        content("CODE", ("Z2", "99ZQ", "Zq own"), ConceptCodeSequence=[coded("39607008", "SCT", "Lung")]),
        content("CODE", SEX, ConceptCodeSequence=[coded("F", "DCM", "Female")]),
        content("CONTAINER", FINDING, ContentSequence=[content("TEXT", FINDING, TextValue="Zq")]),
    ]
    for depth in range(4):
        file = copied(tmp_path / str(depth), at_depth(depth, **{keyword: items}), Option.STRUCTURED_CONTENT)
        assert b"Zq" not in file.read_bytes()
        kept = found_at(file, depth)[keyword].value
        assert [item.ValueType for item in kept] == ["CODE", "NUM", "CONTAINER"]
        assert kept[0].ConceptCodeSequence[0].CodeMeaning == codes.SCT.Lung.meaning
        assert kept[1].MeasuredValueSequence[0].NumericValue == 12
        assert kept[2].ContentSequence[0].MeasuredValueSequence[0].NumericValue == 3
    copy = dcmread(copied(tmp_path / "basic", at_depth(0, **{keyword: items})))
    assert not any("ValueType" in item for item in copy[keyword].value or ())


def test_the_sex_of_the_observed_stays_where_patient_characteristics_do(tmp_path):
    female = codes.cid7455.Female
    item = content("CODE", SEX, ConceptCodeSequence=[coded(female.value, female.scheme_designator, "Zq")])
    options = (Option.STRUCTURED_CONTENT, Option.PATIENT_CHARACTERISTICS)
    copy = dcmread(copied(tmp_path, ct_slice(AcquisitionContextSequence=[item]), *options))
    assert copy.AcquisitionContextSequence[0].ConceptCodeSequence[0].CodeMeaning == female.meaning


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((Option.FULL_DATES,), "UNMODIFIED"),
        ((Option.MODIFIED_DATES,), "MODIFIED"),
        ((), "REMOVED"),
        (tuple(set(OPTIONS) - {Option.FULL_DATES}), "MODIFIED"),
    ],
)
def test_a_copy_states_what_was_applied(tmp_path, options, said):
    copy = dcmread(copied(tmp_path, ct_slice(), *options))
    stated = [(item.CodeValue, item.CodeMeaning) for item in copy.DeidentificationMethodCodeSequence]
    assert stated == [("113100", "Basic Application Confidentiality Profile"), *sorted(METHODS[o] for o in options)]
    assert copy.LongitudinalTemporalInformationModified == said
    assert copy.DeidentificationMethod.startswith("covnode: PS3.15")
    if not options:
        assert copy.StudyDate == copy.StudyTime == ""
        assert "20220" not in str(copy)


def test_codes_and_meanings_are_those_of_the_standard():
    registered = {code.value: code.meaning for code in (getattr(codes.cid7050, n) for n in codes.cid7050.dir())}
    assert set(METHODS) == set(Option)
    for value, meaning in METHODS.values():
        assert registered[value] == meaning


def test_dates_are_full_or_modified_not_both():
    with pytest.raises(ConfigurationError, match="not both"):
        build_profile({Option.FULL_DATES, Option.MODIFIED_DATES})


def test_safe_private_needs_its_list():
    with pytest.raises(ConfigurationError, match="list"):
        build_profile({Option.SAFE_PRIVATE})


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("option", OPTIONS)
def test_of_sentinels_everywhere_only_those_survive_that_the_option_names(tmp_path, option, syntax):
    sentinel = Sentinels()
    dataset = full_of_identity(sentinel, transfer_syntax=syntax)
    file = copied(tmp_path, dataset, option)
    rules = build_profile({option}).rules
    named = {
        str(value)
        for element in dataset.iterall()
        if element.VR != "SQ" and element.tag in rules and rules[element.tag].is_retained
        for value in ([element.value] if isinstance(element.value, str) else element.value or ())
    }
    survivors = sentinel.found_in(file.read_bytes())
    assert {s for s in survivors if not any(s in value for value in named)} == set()
    assert bool(survivors) == (option in {Option.INSTITUTION_IDENTITY, Option.DEVICE_IDENTITY, Option.UIDS})


def test_no_person_is_kept_by_any_option():
    for option in OPTIONS:
        for tag, rule in build_profile({option}).rules.items():
            if keyword_for_tag(tag).endswith("Name") and rule.is_retained:
                assert "Patient" not in keyword_for_tag(tag)
            assert rule.action is not Action.CLEAN or rule.option is not None
