"""The independent check: each test takes one protection away and shows that the check refuses the copy."""

import struct
from dataclasses import replace

import pytest
from planted import KEYS, Sentinels, ct_slice, full_of_identity, received
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from covnode.deidentify import cleaning, engine
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.leaks import LeakCheck
from covnode.deidentify.profile import Action, Rule, node_profile
from covnode.errors import DeidentificationRefused

KEPT_AS_TEXT = Rule(Action.KEEP, text=True)
LEAKS = (
    ("InstitutionName", "St. Zqmarien Hospital"),
    ("OperatorsName", "Zqsmith^Ann"),
    ("PatientAddress", "12 Zqstreet"),
    ("PatientTelephoneNumbers", "+49 555 0199"),
    ("PatientMotherBirthName", "Zqsmith"),
    ("PatientComments", "known to Dr. Who since 2011"),
    ("StudyDescription", "Zq thorax for Mrs. Doe"),
    ("AdmissionID", "ADM-7712"),
)


@pytest.fixture
def without(monkeypatch):
    """Replace the rule on one attribute, for the cleaning alone."""

    def without(keyword, rule=KEPT_AS_TEXT):
        lax = lax_profile(keyword, rule)
        monkeypatch.setattr(engine, "Cleaner", lambda _, *others: cleaning.Cleaner(lax, *others))
        return lax

    return without


def lax_profile(keyword, rule=KEPT_AS_TEXT, profile=None):
    profile = profile or node_profile()
    return replace(profile, rules={**profile.rules, int(Tag(keyword)): rule})


def refused(tmp_path, *slices):
    with pytest.raises(DeidentificationRefused) as refusal:
        deidentify_series(received(tmp_path / "in", slices), tmp_path / "out", KEYS)
    assert refusal.value.code == "identity_left"
    assert not (tmp_path / "out").exists()
    return str(refusal.value)


@pytest.mark.parametrize(("keyword", "value"), LEAKS, ids=lambda value: value.replace(" ", "-"))
@pytest.mark.parametrize(
    "transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_an_attribute_that_slips_through_is_caught(tmp_path, without, keyword, value, transfer_syntax):
    without(keyword)
    message = refused(tmp_path, ct_slice(1, transfer_syntax), ct_slice(2, transfer_syntax, **{keyword: value}))
    assert keyword in message
    assert value not in message


@pytest.mark.parametrize(("keyword", "value"), LEAKS, ids=lambda value: value.replace(" ", "-"))
def test_it_is_caught_by_its_value_alone(tmp_path, without, monkeypatch, keyword, value):
    """Even if the check too believed that the attribute may stay."""
    lax = without(keyword)
    monkeypatch.setattr(engine, "LeakCheck", lambda _: LeakCheck(lax))
    assert "Zq" not in refused(tmp_path, ct_slice(**{keyword: value}))


def test_a_leak_in_a_nested_item_is_caught(tmp_path, without):
    without("PatientID")
    inner, outer = Dataset(), Dataset()
    inner.PatientID = "MRN-443-221"
    outer.ReferencedInstanceSequence = [inner]
    refused(tmp_path, ct_slice(ReferencedSeriesSequence=[outer]))


def test_a_uid_that_is_not_replaced_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(cleaning.values, "replaced_uids", lambda raw, pseudonym: raw)
    assert "StudyInstanceUID" in refused(tmp_path, ct_slice())


def test_a_date_that_is_not_moved_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(cleaning.values, "moved", lambda vr, raw, offset_days: raw)
    assert "StudyDate" in refused(tmp_path, ct_slice())


def test_an_identifying_number_in_a_kept_number_is_caught(tmp_path):
    message = refused(tmp_path, ct_slice(AccessionNumber="4567890", SeriesNumber=4567890))
    assert "SeriesNumber" in message


@pytest.mark.parametrize("keyword", ["Manufacturer", "ManufacturerModelName", "ConvolutionKernel"])
@pytest.mark.parametrize("leak", ["Jane", "mrn-443-221", "DOE", "Who Doctor"])
def test_identity_in_a_kept_text_is_caught(tmp_path, keyword, leak):
    assert keyword in refused(tmp_path, ct_slice(**{keyword: f"CT {leak} 2"[:16]}))


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("Chest^Head", {"BodyPartExamined": "CHEST"}),
        ("Force^Philips", {"Manufacturer": "Philips", "ManufacturerModelName": "SOMATOM Force"}),
        ("Axial^Lung", {"ConvolutionKernel": "LUNG"}),
        ("Li^B", {"ConvolutionKernel": "B"}),
        ("Removed^Basic", {}),
        ("Profile^Dates", {}),
    ],
)
def test_names_that_are_words_of_the_device_or_of_the_standard_pass(tmp_path, name, attributes):
    deidentify_series(received(tmp_path / "in", [ct_slice(PatientName=name, **attributes)]), tmp_path / "out", KEYS)


@pytest.mark.parametrize(
    "attributes",
    [
        {"SeriesDescription": "B40f"},
        {"StationName": "CT660", "ManufacturerModelName": "Optima CT660", "Manufacturer": "GE MEDICAL SYSTEMS"},
        {"InstitutionName": "iCT 256", "ManufacturerModelName": "iCT 256", "Manufacturer": "Philips"},
        {"InstitutionName": "Siemens Healthcare"},
        {"PatientID": "512", "AccessionNumber": "16"},
        {"StudyID": "1024"},
        {"PatientName": "Anonymous^", "PatientID": ""},
        {"PatientName": "REMOVED", "InstitutionName": "REMOVED"},
    ],
    ids=str,
)
def test_values_that_coincide_with_harmless_ones_pass(tmp_path, attributes):
    deidentify_series(received(tmp_path / "in", [ct_slice(**attributes)]), tmp_path / "out", KEYS)


def test_a_copy_of_a_copy_passes(tmp_path):
    first, _ = deidentify_series(received(tmp_path / "in", [ct_slice()]), tmp_path / "out", KEYS)
    again, _ = deidentify_series(
        received(tmp_path / "in2", [file.read_bytes() for file in first.files]), tmp_path / "out2", KEYS
    )
    assert dcmread(again.files[0]).PatientID != dcmread(first.files[0]).PatientID


class TestCopies:
    """The check alone, on copies that were tampered with after the engine."""

    @pytest.fixture
    def check(self, tmp_path):
        sentinel = Sentinels()
        series = received(tmp_path / "in", [full_of_identity(sentinel)])
        check = LeakCheck(node_profile())
        check.learn(series.instances[0].path)
        copies, _ = deidentify_series(series, tmp_path / "out", KEYS)
        check.verify(copies.files[0])
        return check, copies.files[0], sentinel

    def test_a_name_in_the_preamble(self, check):
        check, copy, _ = check
        copy.write_bytes(b"x".ljust(128, b"\0") + copy.read_bytes()[128:])
        with pytest.raises(DeidentificationRefused, match="preamble"):
            check.verify(copy)

    @pytest.mark.parametrize("change", ["private", "unknown", "blob", "meta", "text", "non-ascii"])
    def test_a_value_that_does_not_belong_there(self, check, change):
        check, copy, sentinel = check
        dataset = dcmread(copy)
        if change == "private":
            dataset.add_new(0x00091010, "LO", "harmless")
        elif change == "unknown":
            dataset.add_new(0x00189999, "UN", b"harmless")
        elif change == "blob":
            numbers = struct.unpack("<4L", sentinel.family.encode().ljust(16, b"\0"))
            dataset.add_new("DimensionIndexValues", "UL", list(numbers))
        elif change == "meta":
            dataset.file_meta.SourceApplicationEntityTitle = "harmless"
        elif change == "text":
            dataset.ConvolutionKernel = sentinel.given[:16]
        else:
            dataset.SpecificCharacterSet = "ISO_IR 100"
            dataset.Manufacturer = "Größe"
        dcmwrite(copy, dataset)
        with pytest.raises(DeidentificationRefused):
            check.verify(copy)

    def test_bytes_after_the_pixel_data(self, check):
        check, copy, sentinel = check
        copy.write_bytes(copy.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\x10\0\0\0" + sentinel.family.encode()[:16])
        with pytest.raises(DeidentificationRefused, match="bytes between"):
            check.verify(copy)

    def test_a_name_between_the_elements(self, check):
        check, copy, sentinel = check
        content = copy.read_bytes()
        name = sentinel.family.encode().ljust(16)[:16]
        # pydicom reads and drops a group length of a group; here one with a name as its value
        content = content.replace(b"\x18\0\x50\0DS", b"\x18\0\0\0UN\0\0\x10\0\0\0" + name + b"\x18\0\x50\0DS", 1)
        copy.write_bytes(content)
        with pytest.raises(DeidentificationRefused):
            check.verify(copy)

    def test_a_copy_that_cannot_be_read(self, check):
        check, copy, _ = check
        copy.write_bytes(copy.read_bytes()[:700])
        with pytest.raises(DeidentificationRefused):
            check.verify(copy)


@pytest.mark.usefixtures("pixels_unseen")
def test_surplus_bytes_in_native_pixel_data_are_searched(tmp_path):
    pixels = ct_slice().PixelData
    deidentify_series(received(tmp_path / "in", [ct_slice(PixelData=pixels + b"\0\0")]), tmp_path / "out", KEYS)
    assert "bytes" in refused(tmp_path / "b", ct_slice(PixelData=pixels + b"MRN-443-221\0"))


@pytest.mark.parametrize("transfer_syntax", [DeflatedExplicitVRLittleEndian, JPEGLSLossless])
def test_deflated_and_compressed_copies_are_checked(tmp_path, without, transfer_syntax):
    dataset = ct_slice(InstitutionName="Zqmarien Hospital")
    if transfer_syntax == JPEGLSLossless:
        dataset.compress(JPEGLSLossless)
    else:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax
    without("InstitutionName")
    refused(tmp_path, dataset)


def test_the_engine_asks_the_check_about_every_copy(tmp_path, monkeypatch):
    asked = []

    class Recording(LeakCheck):
        def verify(self, copy):
            asked.append(copy.name)
            super().verify(copy)

    monkeypatch.setattr(engine, "LeakCheck", Recording)
    deidentify_series(received(tmp_path / "in", [ct_slice(n) for n in (1, 2, 3)]), tmp_path / "out", KEYS)
    assert asked == ["00001.dcm", "00002.dcm", "00003.dcm"]
