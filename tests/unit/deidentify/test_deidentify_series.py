"""What a de-identified series holds, and what it never holds."""

import logging
import warnings
from datetime import date

import pytest
from planted import FRAME_UID, KEYS, SERIES_UID, STUDY_UID, Sentinels, ct_slice, full_of_identity, received
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
)

from covnode.deidentify.engine import deidentify_series
from covnode.errors import DeidentificationRefused

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def deidentify(tmp_path, *slices, keys=KEYS):
    series, identity = deidentify_series(received(tmp_path / "in", slices), tmp_path / "out", keys)
    return [dcmread(file) for file in series.files], identity


def refusal(tmp_path, *slices):
    with pytest.raises(DeidentificationRefused) as refused:
        deidentify(tmp_path, *slices)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*")), "no draft is left behind"
    for secret in ("Doe", "MRN", "99999", "ACC-1"):
        assert secret not in str(refused.value)
    return refused.value


@pytest.mark.parametrize("transfer_syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_no_sentinel_is_left_in_the_bytes(tmp_path, transfer_syntax, capfd, caplog):
    sentinel = Sentinels()
    slices = [full_of_identity(sentinel, n, transfer_syntax=transfer_syntax) for n in (1, 2)]
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        series, _ = deidentify_series(received(tmp_path / "in", slices), tmp_path / "out", KEYS)
    assert len(sentinel.made) > 400
    for file in series.files:
        content = file.read_bytes()
        dataset = dcmread(file)
        if transfer_syntax == DeflatedExplicitVRLittleEndian:
            content += repr(dataset).encode() + dataset.PixelData
        assert not sentinel.found_in(content)
        assert content[:128] == bytes(128)
        assert not any(element.tag.is_private for element in dataset.iterall())
    said = "".join(capfd.readouterr()) + caplog.text + "".join(str(w.message) for w in warned)
    assert not sentinel.found_in(said.encode())


def test_the_planted_series_would_show_its_sentinels(tmp_path):
    sentinel = Sentinels()
    content = received(tmp_path / "in", [full_of_identity(sentinel)]).instances[0].path.read_bytes()
    assert sentinel.found_in(content) == sentinel.made


def test_the_analysis_keeps_what_it_needs(tmp_path):
    (copy,), _ = deidentify(tmp_path, ct_slice(4))
    assert (copy.Modality, copy.Manufacturer, copy.ManufacturerModelName) == ("CT", "SIEMENS", "Sensation 16")
    assert (copy.ConvolutionKernel, copy.KVP, copy.SliceThickness) == ("B40f", 120, 5)
    assert copy.ImagePositionPatient == [-10, -10, 20]
    assert copy.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert list(copy.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert (copy.Rows, copy.PixelSpacing, copy.RescaleIntercept, copy.PixelRepresentation) == (16, [0.5, 0.5], -1024, 1)
    assert copy.PixelData == ct_slice(4).PixelData


def test_the_copy_says_what_it_is(tmp_path):
    (copy,), _ = deidentify(tmp_path, ct_slice())
    assert copy.PatientIdentityRemoved == "YES"
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in copy.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert (copy.PatientBirthDate, copy.PatientSex, copy.AccessionNumber, copy.StudyID) == ("", "", "", "")
    assert copy.PatientID == copy.PatientName.family_name == KEYS.patient_id("", "MRN-443-221")


@pytest.mark.parametrize("transfer_syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_uids_are_replaced_everywhere_alike(tmp_path, transfer_syntax):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, "1.2.840.99999.1.2"
    slices = [ct_slice(n, transfer_syntax, SourceImageSequence=[item]) for n in (1, 2)]
    copies, identity = deidentify(tmp_path, *slices)
    uids = {copy.SOPInstanceUID for copy in copies}
    assert uids == {KEYS.uid("1.2.840.99999.1.1"), KEYS.uid("1.2.840.99999.1.2")}
    for copy in copies:
        assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
        assert copy.file_meta.TransferSyntaxUID == transfer_syntax
        assert copy.SourceImageSequence[0].ReferencedSOPInstanceUID == KEYS.uid("1.2.840.99999.1.2")
        assert copy.SourceImageSequence[0].ReferencedSOPClassUID == CTImageStorage
        assert (copy.StudyInstanceUID, copy.SeriesInstanceUID) == (KEYS.uid(STUDY_UID), KEYS.uid(SERIES_UID))
        assert all(UID(uid).is_valid for uid in (copy.SOPInstanceUID, copy.StudyInstanceUID))
    assert {identity.uid_map[uid] for uid in uids} == {"1.2.840.99999.1.1", "1.2.840.99999.1.2"}
    assert identity.uid_map[KEYS.uid(FRAME_UID)] == FRAME_UID == identity.frame_of_reference_uid
    assert not identity.ambiguous_references


def test_dates_move_and_keep_their_intervals(tmp_path):
    (copy,), _ = deidentify(tmp_path, ct_slice(AcquisitionDateTime="20220408101213.500000+0100"))
    offset = KEYS.date_offset_days("", "MRN-443-221")
    moved = [date(int(v[:4]), int(v[4:6]), int(v[6:])) for v in (copy.StudyDate, copy.SeriesDate, copy.AcquisitionDate)]
    assert (moved[0] - date(2022, 4, 1)).days == offset != 0
    assert [(day - moved[0]).days for day in moved] == [0, 1, 7]
    assert copy.AcquisitionDateTime == copy.AcquisitionDate + "101213.500000+0100"
    assert (copy.StudyTime, copy.AcquisitionTime) == ("101112", "101213.5")


def test_a_malformed_date_is_emptied(tmp_path):
    dataset = ct_slice()
    dataset.add_new("ContentDate", "DA", b"20220431")
    dataset.add_new("AcquisitionTime", "TM", b"Zq Zq ")
    (copy,), _ = deidentify(tmp_path, dataset)
    assert (copy.ContentDate, copy.AcquisitionTime) == ("", "")


@pytest.mark.parametrize(("sent", "kept"), [("X", ""), ("MALE", ""), ("F", ""), ("", "")])
def test_the_sex_is_never_copied(tmp_path, sent, kept):
    dataset = ct_slice()
    dataset.add_new("PatientSex", "CS", sent.encode())
    (copy,), _ = deidentify(tmp_path, dataset)
    assert copy.PatientSex == kept


@pytest.mark.parametrize(
    ("sent", "kept"), [("Ultravist", True), ("", False), ("NONE", False), ("w/o ", False), (None, None)]
)
def test_only_whether_there_was_contrast_is_kept(tmp_path, sent, kept):
    (copy,), _ = deidentify(tmp_path, ct_slice(ContrastBolusAgent=sent) if sent is not None else ct_slice())
    agent = copy.get("ContrastBolusAgent")
    assert agent is None if kept is None else bool(agent) is kept
    assert "ltravist" not in str(agent)


def test_values_outside_the_closed_terms_do_not_stay(tmp_path):
    attributes = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "ZQSMITH"],
        "BodyPartExamined": "ZQSMITH",
        "PositionReferenceIndicator": "Zq",
    }
    (copy,), _ = deidentify(tmp_path, ct_slice(**attributes))
    assert list(copy.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "OTHER"]
    assert (copy.BodyPartExamined, copy.PositionReferenceIndicator) == ("", "")


def test_numbers_that_are_no_numbers_do_not_stay(tmp_path):
    dataset = ct_slice(SliceLocation="77777777", AcquisitionNumber="666666")
    dataset.add_new("TableHeight", "LO", "129.5")
    dataset.add_new("GantryDetectorTilt", "UN", b"-1.5")
    series = received(tmp_path / "in", [dataset])
    path = series.instances[0].path
    path.write_bytes(path.read_bytes().replace(b"77777777", b"Zqsmith ").replace(b"666666", b"12;345"))
    deidentified, _ = deidentify_series(series, tmp_path / "out", KEYS)
    copy = dcmread(deidentified.files[0])
    assert (copy.SliceLocation, copy.AcquisitionNumber) == (None, None)
    assert (copy.TableHeight, copy.GantryDetectorTilt) == (129.5, -1.5)


def test_only_registered_codes_stay(tmp_path):
    chest, unknown = Dataset(), Dataset()
    chest.CodeValue, chest.CodingSchemeDesignator, chest.CodeMeaning = "T-D3000", "SRT", "Zqsmith's chest"
    unknown.CodeValue, unknown.CodingSchemeDesignator, unknown.CodeMeaning = "ZQ1", "99ZQ", "Zqsmith"
    (copy,), _ = deidentify(tmp_path, ct_slice(AnatomicRegionSequence=[chest, unknown]))
    assert [(item.CodeValue, item.CodeMeaning) for item in copy.AnatomicRegionSequence] == [("T-D3000", "Chest")]


def test_what_writers_of_results_ask_for_is_always_there(tmp_path):
    missing = "FrameOfReferenceUID SliceThickness AccessionNumber StudyID StudyDate PatientSex ReferringPhysicianName"
    (copy,), identity = deidentify(tmp_path, ct_slice(**dict.fromkeys(missing.split())))
    assert identity.frame_of_reference_uid is None
    assert UID(copy.FrameOfReferenceUID).is_valid
    assert copy.FrameOfReferenceUID not in identity.uid_map
    assert copy.SliceThickness is None
    assert (copy.AccessionNumber, copy.StudyID, copy.StudyDate, copy.PatientSex) == ("", "", "", "")


def test_the_same_series_gives_the_same_bytes_also_into_a_folder_that_exists(tmp_path):
    sentinel = Sentinels()
    series = received(tmp_path / "in", [full_of_identity(sentinel, n) for n in (1, 2, 3)])
    first, first_identity = deidentify_series(series, tmp_path / "out", KEYS)
    before = {file.name: file.read_bytes() for file in first.files}
    (tmp_path / "out" / "stray.dcm").write_bytes(b"left by nobody")
    again, again_identity = deidentify_series(series, tmp_path / "out", KEYS)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert (first, first_identity) == (again, again_identity)
    assert [file.name for file in again.files] == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_files_are_ordered_by_content_and_each_content_is_written_once(tmp_path):
    series = received(tmp_path / "in", [ct_slice(n) for n in (1, 2, 3, 2)])
    deidentified, _ = deidentify_series(series, tmp_path / "out", KEYS)
    assert len(deidentified.files) == 3
    originals = {i.content_digest: dcmread(i.path).InstanceNumber for i in series.instances}
    expected = [originals[digest] for digest in sorted(originals)]
    assert [dcmread(file).InstanceNumber for file in deidentified.files] == expected


def test_one_instance_uid_on_several_contents_is_kept_apart_and_said(tmp_path):
    slices = [ct_slice(n, SOPInstanceUID="1.2.840.99999.1.1") for n in (1, 2, 3)]
    copies, identity = deidentify(tmp_path, *slices)
    assert len({copy.SOPInstanceUID for copy in copies}) == 3
    assert {identity.uid_map[copy.SOPInstanceUID] for copy in copies} == {"1.2.840.99999.1.1"}
    assert identity.ambiguous_references


@pytest.mark.parametrize(
    "other",
    [{"PatientID": "MRN-9"}, {"PatientName": "Doe^John"}, {"StudyInstanceUID": "1.2.840.99999.9"}],
    ids=lambda other: next(iter(other)),
)
def test_conflicting_identity_is_refused(tmp_path, other):
    refused = refusal(tmp_path, ct_slice(1), ct_slice(2, **other))
    assert refused.code == "conflicting_identity"
    assert next(iter(other)) in str(refused)


def test_names_that_differ_in_padding_only_are_one_patient(tmp_path):
    copies, _ = deidentify(tmp_path, ct_slice(1), ct_slice(2, PatientName="Doe^Jane^^"))
    assert len(copies) == 2


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned_in_text"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "burned_in_text"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}, "burned_in_text"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary_capture"),
    ],
)
def test_pixels_that_may_show_text_are_refused(tmp_path, attributes, code):
    assert refusal(tmp_path, ct_slice(1), ct_slice(2, **attributes)).code == code


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_its_names_is_refused(tmp_path, keyword):
    assert refusal(tmp_path, ct_slice(**{keyword: None})).code == "unreadable_instance"


def test_an_overlay_in_unused_bits_is_refused(tmp_path):
    dataset = ct_slice()
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    assert refusal(tmp_path, dataset).code == "embedded_overlay"


def test_pixels_marked_free_of_text_pass(tmp_path):
    (copy,), _ = deidentify(tmp_path, ct_slice(BurnedInAnnotation="NO"))
    assert copy.BurnedInAnnotation == "NO"


def test_a_text_that_cannot_be_given_back_is_refused(tmp_path):
    dataset = ct_slice()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.add_new("PatientName", "PN", b"M\xfcller^Jane")
    assert refusal(tmp_path, dataset).code == "unreadable_instance"


def test_compressed_pixel_data_stay_byte_for_byte(tmp_path):
    dataset = ct_slice()
    dataset.compress(JPEGLSLossless)
    fragments = dataset.PixelData
    (copy,), _ = deidentify(tmp_path, dataset)
    assert copy.PixelData == fragments
    assert copy.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert (copy.pixel_array == dataset.pixel_array).all()


def test_nothing_follows_the_pixel_data(tmp_path):
    series = received(tmp_path / "in", [ct_slice()])
    with series.instances[0].path.open("ab") as file:
        file.write(b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0Zqsmith\0")
    deidentified, _ = deidentify_series(series, tmp_path / "out", KEYS)
    content = deidentified.files[0].read_bytes()
    assert content.endswith(ct_slice().PixelData)


def test_truncated_pixel_data_are_passed_on_where_nobody_looks_at_them(tmp_path):
    series = received(tmp_path / "in", [ct_slice(number) for number in range(1, 10)])
    path = sorted(series.instances, key=lambda instance: instance.content_digest)[1].path
    content = path.read_bytes()[:-100]
    path.write_bytes(content)
    deidentified, _ = deidentify_series(series, tmp_path / "out", KEYS)
    assert deidentified.files[1].read_bytes().endswith(content[-400:])


def test_identity_and_originals_print_nothing(tmp_path):
    _, identity = deidentify(tmp_path, ct_slice())
    for secret in ("Doe", "MRN", "99999"):
        assert secret not in repr(identity)


def test_an_empty_series_is_refused(tmp_path):
    assert refusal(tmp_path).code == "unreadable_instance"
