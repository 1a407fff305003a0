"""The check under options: each test takes one protection away, or plants a value where an option lets text stay."""

from dataclasses import replace

import pytest
from planted import KEYS, ct_slice, received
from pydicom import Dataset, dcmread
from pydicom.tag import Tag

from covnode.deidentify import cleaning, engine
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.leaks import LeakCheck
from covnode.deidentify.options import Option
from covnode.deidentify.profile import Action, Rule, build_profile
from covnode.errors import DeidentificationRefused

KEPT_AS_TEXT = Rule(Action.KEEP, text=True)
OPTIONS = [option for option in Option if option is not Option.SAFE_PRIVATE]
LEAKS = {
    "PatientMotherBirthName": "Zqsmith",
    "OperatorsName": "Zqsmith^Ann",
    "AdmissionID": "ADM-7712",
    "AccessionNumber": "ACC-7713",
    "PatientTelephoneNumbers": "+49 555 0199",
    "PatientAddress": "12 Zqstreet",
    "OtherPatientIDs": "MRN-443-9",
}
PLACES = {"InstitutionName": "Zqmarien Hospital", "DeviceSerialNumber": "SN-77123", "EthnicGroup": "Zqgroup"}
OF_PLACES = {
    "InstitutionName": Option.INSTITUTION_IDENTITY,
    "DeviceSerialNumber": Option.DEVICE_IDENTITY,
    "EthnicGroup": Option.PATIENT_CHARACTERISTICS,
}


def deidentified(tmp_path, dataset, *options):
    series = received(tmp_path / "in", [dataset])
    return dcmread(deidentify_series(series, tmp_path / "out", KEYS, build_profile(options))[0].files[0])


def refusal(tmp_path, dataset, *options):
    with pytest.raises(DeidentificationRefused) as refused:
        deidentified(tmp_path, dataset, *options)
    assert refused.value.code == "identity_left"
    assert not (tmp_path / "out").exists()
    assert "Zq" not in str(refused.value)
    return str(refused.value)


def place_in(dataset, depth):
    for keyword in ("ReferencedSeriesSequence", "SourceImageSequence", "FrameContentSequence")[:depth]:
        item = Dataset()
        setattr(dataset, keyword, [item])
        dataset = item
    return dataset


@pytest.fixture
def lax(monkeypatch):
    """Let the cleaning, not the check, take attributes for texts that stay."""

    def lax(*keywords):
        def cleaner(profile, *others):
            rules = {**profile.rules, **{int(Tag(keyword)): KEPT_AS_TEXT for keyword in keywords}}
            return cleaning.Cleaner(replace(profile, rules=rules), *others)

        monkeypatch.setattr(engine, "Cleaner", cleaner)

    return lax


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("keyword", LEAKS)
def test_what_no_option_names_is_a_leak_under_each(tmp_path, lax, option, keyword):
    lax(keyword)
    for depth in (0, 2):
        dataset = ct_slice()
        setattr(place_in(dataset, depth), keyword, LEAKS[keyword])
        assert keyword in refusal(tmp_path / str(depth), dataset, option)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("keyword", PLACES)
def test_what_another_option_names_is_a_leak_without_it(tmp_path, lax, option, keyword):
    dataset = ct_slice()
    setattr(place_in(dataset, 1), keyword, PLACES[keyword])
    if option is OF_PLACES[keyword]:
        assert place_in(deidentified(tmp_path / "a", dataset, option), 0).ReferencedSeriesSequence[0][keyword].value
        return
    lax(keyword)
    assert keyword in refusal(tmp_path, dataset, option)


@pytest.mark.parametrize("keyword", PLACES)
@pytest.mark.parametrize("elsewhere", ["StudyDescription", "PatientComments", "FilterType"])
def test_a_retained_value_is_a_leak_anywhere_else(tmp_path, lax, keyword, elsewhere):
    dataset = ct_slice()
    setattr(dataset, keyword, PLACES[keyword])
    setattr(dataset, elsewhere, PLACES[keyword].upper())
    lax(elsewhere)
    assert elsewhere in refusal(tmp_path, dataset, OF_PLACES[keyword])


@pytest.mark.parametrize("leak", ["Jane", "mrn-443-221", "DOE", "Dr. Who", "ACC-1", "Zq for 19510329"])
@pytest.mark.parametrize("keyword", PLACES)
def test_a_person_is_a_leak_even_where_an_option_retains_the_text(tmp_path, keyword, leak):
    for depth in range(4):
        dataset = ct_slice()
        setattr(place_in(dataset, depth), keyword, leak)
        assert keyword in refusal(tmp_path / str(depth), dataset, OF_PLACES[keyword])


def test_a_person_in_a_retained_code_is_a_leak(tmp_path):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99ZQ", "Practice of Who"
    refusal(tmp_path, ct_slice(InstitutionCodeSequence=[code]), Option.INSTITUTION_IDENTITY)


def test_an_institution_may_be_named_as_its_issuer_its_service_and_a_patients_town(tmp_path):
    dataset = ct_slice(
        InstitutionName="Zqtown Hospital",
        InstitutionAddress="Zqtown",
        IssuerOfPatientID="Zqtown Hospital",
        RequestingService="Zqtown Hospital",
        PatientAddress="12 Elm, Zqtown",
    )
    assert deidentified(tmp_path, dataset, Option.INSTITUTION_IDENTITY).InstitutionName == "Zqtown Hospital"


@pytest.mark.parametrize("keyword", ["SeriesDate", "ContentDate", "AcquisitionDateTime"])
def test_the_date_of_birth_is_a_leak_where_dates_stay(tmp_path, keyword):
    birth = "19510329" + ("101112" if keyword.endswith("Time") else "")
    assert keyword in refusal(tmp_path, ct_slice(**{keyword: birth}), Option.FULL_DATES)


def test_full_dates_are_a_leak_without_their_option(tmp_path, lax):
    moved = cleaning.values.moved
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cleaning.values, "moved", lambda vr, raw, days: moved(vr, raw, 0))
        assert "StudyDate" in refusal(tmp_path, ct_slice(), Option.MODIFIED_DATES)
    lax("StudyDate")
    assert "StudyDate" in refusal(tmp_path / "b", ct_slice())


@pytest.mark.parametrize("option", [option for option in OPTIONS if option is not Option.UIDS])
def test_a_uid_of_the_original_is_a_leak_under_every_other_option(tmp_path, monkeypatch, option):
    monkeypatch.setattr(cleaning.values, "replaced_uids", lambda raw, pseudonym: raw)
    assert "UID" in refusal(tmp_path, ct_slice(), option)


def test_a_uid_is_a_leak_where_retain_uids_does_not_name_the_attribute(tmp_path, monkeypatch):
    dataset = ct_slice(SOPInstanceUIDOfConcatenationSource="1.2.840.99999.1.1")
    copy = deidentified(tmp_path / "a", dataset, Option.UIDS)
    assert copy.SOPInstanceUIDOfConcatenationSource.startswith("2.25.")
    monkeypatch.setattr(cleaning.values, "replaced_uids", lambda raw, pseudonym: raw)
    assert "ConcatenationSource" in refusal(tmp_path, dataset, Option.UIDS)


def test_a_uid_that_holds_an_id_is_not_retained(tmp_path):
    dataset = ct_slice(AccessionNumber="7712345", StudyInstanceUID="1.2.840.99999.7712345.2")
    assert "StudyInstanceUID" in refusal(tmp_path, dataset, Option.UIDS)


@pytest.mark.parametrize(
    "text",
    ["thorax of Mrs. Zq", "thorax 20220401", "thorax 1 2", "thorax 123", "thörax", "ACC-1 thorax", "Jane thorax"],
)
def test_a_description_that_is_not_clean_is_refused_if_the_cleaning_lets_it_stay(tmp_path, monkeypatch, text):
    dataset = ct_slice(StudyDescription=text, SpecificCharacterSet="ISO_IR 100")
    assert "StudyDescription" not in deidentified(tmp_path / "a", dataset, Option.DESCRIPTORS)
    monkeypatch.setattr(cleaning.Cleaner, "_is_clean", lambda self, vr, raw: True)
    assert "StudyDescription" in refusal(tmp_path, dataset, Option.DESCRIPTORS)


def test_a_code_that_is_not_registered_is_refused_if_the_cleaning_lets_it_stay(tmp_path, monkeypatch):
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "39607008", "SCT", "Zq"
    item.ValueType, item.ConceptNameCodeSequence, item.ConceptCodeSequence = "CODE", [code], [code]
    dataset = ct_slice(AcquisitionContextSequence=[item])
    deidentified(tmp_path / "a", dataset, Option.STRUCTURED_CONTENT)
    monkeypatch.setattr(cleaning, "registered_codes", lambda which: {("39607008", "SCT"): ("39607008", "SCT", "Zq")})
    assert "not registered" in refusal(tmp_path, dataset, Option.STRUCTURED_CONTENT)


def test_what_passed_in_one_character_set_is_judged_again_in_another(tmp_path):
    name = "Jäne".encode("latin-1")
    assert name.decode("iso8859_2") != name.decode("iso8859_5")
    slices = []
    for number, charset in enumerate(["ISO_IR 144", "ISO_IR 100"], start=1):
        dataset = ct_slice(number, PatientName="Doe^Jane")
        dataset.add_new("SpecificCharacterSet", "CS", charset)
        dataset.add_new("InstitutionName", "UN", name)
        slices.append(dataset)
    slices[1].PhysiciansOfRecord = "Jäne"
    series = received(tmp_path / "in", slices)
    with pytest.raises(DeidentificationRefused, match="InstitutionName"):
        deidentify_series(series, tmp_path / "out", KEYS, build_profile({Option.INSTITUTION_IDENTITY}))


def test_a_retained_uid_is_a_leak_among_bytes_that_are_no_element(tmp_path):
    series = received(tmp_path / "in", [ct_slice()])
    profile = build_profile({Option.UIDS})
    copy = deidentify_series(series, tmp_path / "out", KEYS, profile)[0].files[0]
    check = LeakCheck(profile)
    check.learn(series.instances[0].path)
    check.verify(copy)
    copy.write_bytes(copy.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\x10\0\0\0" + b"1.2.840.99999.2\0")
    with pytest.raises(DeidentificationRefused, match="UID"):
        check.verify(copy)
