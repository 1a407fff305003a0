"""Round trips: a CT series is de-identified, highdicom makes a SEG of the copy, and the SEG gets its identity back."""

import hashlib
import warnings

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.keys import PseudonymKeys
from covnode.deliver import restore
from covnode.deliver.restore import restore_identity
from covnode.errors import DeliveryRefused
from covnode.records.series import ReceivedInstance, ReceivedSeries

KEYS = PseudonymKeys(b"a key for tests, never a site's.")
NAMES = {
    "latin": (["ISO_IR 100"], "Müller^Änne", "Großklinik Süd", "Dr^Çelik"),
    "japanese": (
        ["", "ISO 2022 IR 87"],
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "東京病院",
        "Sato^Ken=佐藤^健",
    ),
    "greek": (["ISO_IR 126"], "Δεληθέφ^Ψηλω", "Θεξηφ", "Λεφθηδ"),
    "chinese": (["GB18030"], "Wang^XiaoDong=王^小东", "北京医院", "李^明"),
    "ascii": ([], "Doe^Jane", "Example Hospital", "Who^Doctor"),
}


def ct_slice(number, charset=(), name="Doe^Jane", **attributes):
    """One slice of a small CT series; a value of None removes the attribute."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if charset:
        dataset.SpecificCharacterSet = list(charset)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.2.840.99999.1.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.840.99999.2", "1.2.840.99999.3"
    dataset.FrameOfReferenceUID = "1.2.840.99999.4"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = name, "MRN-443-221", "19510329"
    dataset.PatientSex, dataset.PatientAge, dataset.PatientWeight = "F", "071Y", "070.50"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20220401", "101112", "7", "ACC-1"
    dataset.ReferringPhysicianName = "Who^Doctor"
    dataset.Modality, dataset.Manufacturer, dataset.ImageType = "CT", "SIEMENS", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesNumber, dataset.InstanceNumber = 3, number
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-10, -10, 5.0 * number], [1, 0, 0, 0, 1, 0]
    dataset.SliceThickness, dataset.PixelSpacing = "5", ["0.5", "0.5"]
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    dataset.PixelData = np.full((16, 16), number, np.int16).tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def received(folder, slices):
    folder.mkdir()
    instances = []
    for number, dataset in enumerate(slices):
        path = folder / f"{number}.dcm"
        dcmwrite(path, dataset, enforce_file_format=True)
        instances.append(ReceivedInstance(path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return ReceivedSeries("series-1", 1, tuple(instances))


def segment(copies, path):
    """A SEG of one segment on de-identified slices, as the worker makes it."""
    images = sorted((dcmread(file) for file in copies), key=lambda image: float(image.ImagePositionPatient[2]))
    description = hd.seg.SegmentDescription(
        1,
        "Lung",
        codes.SCT.AnatomicalStructure,
        codes.SCT.Lung,
        hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        hd.AlgorithmIdentificationSequence("covnode", codes.DCM.ArtificialIntelligence, "1"),
    )
    mask = np.zeros((len(images), 16, 16), np.uint8)
    mask[:, 4:9, 5:12] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = hd.seg.Segmentation(
            images, mask, "BINARY", [description], "2.25.11", 9, "2.25.12", 1, "covnode", "m", "1", "serial"
        )
    seg.save_as(path)
    return path


def round_trip(tmp_path, slices):
    series, identity = deidentify_series(received(tmp_path / "in", slices), tmp_path / "copy", KEYS)
    source = segment(series.files, tmp_path / "seg.dcm")
    restore_identity(source, tmp_path / "final.dcm", identity)
    return source, dcmread(tmp_path / "final.dcm"), identity


def uids_of(dataset):
    found = set()
    for element in dataset.iterall():
        if element.VR == "UI":
            found |= {element.value} if element.VM == 1 else set(element.value or ())
    return found


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("what", ["patient", "image", "study"])
def test_a_pseudonym_in_any_text_is_refused(tmp_path, what, depth):
    received_series = received(tmp_path / "in", [ct_slice(n) for n in range(1, 5)])
    series, identity = deidentify_series(received_series, tmp_path / "copy", KEYS)
    source = segment(series.files, tmp_path / "seg.dcm")
    copy, seg = dcmread(series.files[0]), dcmread(source)
    pseudonym = {"patient": copy.PatientID, "image": copy.SOPInstanceUID, "study": copy.StudyInstanceUID}[what]
    place = Dataset()
    place.TextValue = f"lung of {pseudonym}"
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = [place]
        place = outer
    seg.update(place)
    seg.save_as(source)
    with pytest.raises(DeliveryRefused) as refused:
        restore_identity(source, tmp_path / "final.dcm", identity)
    assert refused.value.code == "pseudonym_left"
    assert pseudonym not in str(refused.value)
    assert not (tmp_path / "final.dcm").exists()


@pytest.mark.parametrize(("charset", "name", "institution", "physician"), NAMES.values(), ids=NAMES)
def test_result_carries_the_originals_patient_and_study(tmp_path, charset, name, institution, physician):
    attributes = {"StudyDescription": institution, "ReferringPhysicianName": physician}
    slices = [ct_slice(n, charset, name, **attributes) for n in range(1, 5)]
    source, final, _ = round_trip(tmp_path, slices)
    assert str(final.PatientName) == name
    assert str(final.ReferringPhysicianName) == physician
    assert final.StudyDescription == institution
    assert (final.PatientID, final.PatientBirthDate, final.PatientSex) == ("MRN-443-221", "19510329", "F")
    assert (final.StudyDate, final.StudyTime, final.StudyID) == ("20220401", "101112", "7")
    assert final.AccessionNumber == "ACC-1"
    assert (final.PatientAge, str(final.PatientWeight)) == ("071Y", "070.50")
    assert final.get("SpecificCharacterSet") == (list(charset) if len(charset) > 1 else (charset or [None])[0])
    assert final.SOPInstanceUID == dcmread(source).SOPInstanceUID == "2.25.12"
    assert final.file_meta.MediaStorageSOPInstanceUID == "2.25.12"
    assert final.SeriesInstanceUID == "2.25.11"


def test_references_are_the_originals_at_every_depth(tmp_path):
    source, final, identity = round_trip(tmp_path, [ct_slice(n) for n in range(1, 5)])
    assert final.StudyInstanceUID == "1.2.840.99999.2"
    assert final.FrameOfReferenceUID == "1.2.840.99999.4"
    (referenced,) = final.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == "1.2.840.99999.3"
    expected = {f"1.2.840.99999.1.{n}" for n in range(1, 5)}
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == expected
    frames = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in final.PerFrameFunctionalGroupsSequence
    }
    assert frames == expected
    assert not uids_of(final) & set(identity.uid_map)
    assert final.PixelData == dcmread(source).PixelData


def measurement_report(copies, path):
    """A TID 1500 report that refers to every slice, as the worker makes it."""
    images = [dcmread(file) for file in copies]
    device = hd.sr.ObserverContext(codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(uid="2.25.21"))
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid="2.25.22", identifier="größe"),
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(image) for image in images],
    )
    report = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=device), codes.LN.CTUnspecifiedBodyRegion, [group]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sr = hd.sr.Comprehensive3DSR(
            images, report, "2.25.23", 8, "2.25.24", 1, manufacturer="covnode", is_complete=True
        )
    sr.save_as(path)
    return path


def test_a_report_refers_to_the_originals_images(tmp_path):
    slices = [ct_slice(n, *NAMES["greek"][:2]) for n in (1, 2)]
    series, identity = deidentify_series(received(tmp_path / "in", slices), tmp_path / "copy", KEYS)
    restore_identity(measurement_report(series.files, tmp_path / "sr.dcm"), tmp_path / "final.dcm", identity)
    final = dcmread(tmp_path / "final.dcm")
    (study,) = final.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == final.StudyInstanceUID == "1.2.840.99999.2"
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.840.99999.3"
    expected = {"1.2.840.99999.1.1", "1.2.840.99999.1.2"}
    assert {
        item.ReferencedSOPInstanceUID for item in study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    } == expected
    named = uids_of(final)
    assert expected | {"2.25.21", "2.25.22", "2.25.24"} <= named
    assert not named & set(identity.uid_map)
    # the Greek character set has no "ö", which the report needs
    assert final.SpecificCharacterSet == "ISO_IR 192"
    assert str(final.PatientName) == NAMES["greek"][1]
    assert "größe" in {element.value for element in final.iterall() if element.VR == "UT"}


def test_what_only_the_copy_said_is_gone(tmp_path):
    source, final, _ = round_trip(tmp_path, [ct_slice(n) for n in range(1, 3)])
    assert dcmread(source).PatientIdentityRemoved == "YES"  # or this test would show nothing
    for keyword in ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"):
        assert keyword not in final
    assert "LongitudinalTemporalInformationModified" not in final


def test_an_original_that_was_deidentified_before_stays_so(tmp_path):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113100", "DCM", "Basic Profile of an archive"
    attributes = {
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "by an archive",
        "DeidentificationMethodCodeSequence": [code],
        "LongitudinalTemporalInformationModified": "REMOVED",
    }
    _, final, _ = round_trip(tmp_path, [ct_slice(n, **attributes) for n in range(1, 3)])
    assert final.DeidentificationMethod == "by an archive"
    assert [item.CodeMeaning for item in final.DeidentificationMethodCodeSequence] == ["Basic Profile of an archive"]
    assert final.LongitudinalTemporalInformationModified == "REMOVED"


def test_nested_patient_attributes_and_odd_numbers_come_back(tmp_path):
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "OLD-1", "TEXT"
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    other.IssuerOfPatientIDQualifiersSequence = [issuer]
    slices = [ct_slice(n, OtherPatientIDsSequence=[other], PatientSize="1.680", PregnancyStatus=4) for n in (1, 2)]
    _, final, _ = round_trip(tmp_path, slices)
    assert final.OtherPatientIDsSequence[0].IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3.4"
    assert str(final.PatientSize) == "1.680"
    assert final.PregnancyStatus == 4


def test_attributes_that_every_object_needs_are_empty_where_the_original_had_none(tmp_path):
    missing = dict.fromkeys(("AccessionNumber", "StudyID", "PatientSex", "ReferringPhysicianName", "PatientAge"))
    _, final, _ = round_trip(tmp_path, [ct_slice(n, **missing) for n in (1, 2)])
    assert (final.AccessionNumber, final.StudyID, final.PatientSex) == ("", "", "")
    assert "PatientAge" not in final


def test_latin_1_without_a_stated_character_set_is_written_in_utf_8(tmp_path):
    slices = []
    for n in (1, 2):
        dataset = ct_slice(n)
        dataset.add_new("PatientName", "PN", "Müller^Änne".encode("latin-1"))
        slices.append(dataset)
    _, final, _ = round_trip(tmp_path, slices)
    assert final.SpecificCharacterSet == "ISO_IR 192"
    assert str(final.PatientName) == "Müller^Änne"


def test_a_result_text_outside_the_originals_character_set_moves_all_to_utf_8(tmp_path):
    slices = [ct_slice(n, ["ISO_IR 126"], "Δεληθέφ^Ψηλω") for n in (1, 2)]
    series, identity = deidentify_series(received(tmp_path / "in", slices), tmp_path / "copy", KEYS)
    seg = dcmread(segment(series.files, tmp_path / "seg.dcm"))
    seg.SpecificCharacterSet = "ISO_IR 192"
    seg.SegmentSequence[0].SegmentDescription = "größer, 肺"
    dcmwrite(tmp_path / "seg.dcm", seg)
    restore_identity(tmp_path / "seg.dcm", tmp_path / "final.dcm", identity)
    final = dcmread(tmp_path / "final.dcm")
    assert final.SpecificCharacterSet == "ISO_IR 192"
    assert str(final.PatientName) == "Δεληθέφ^Ψηλω"
    assert final.SegmentSequence[0].SegmentDescription == "größer, 肺"


def test_the_same_input_gives_the_same_bytes(tmp_path):
    slices = [ct_slice(n, *NAMES["japanese"][:2]) for n in (1, 2)]
    source, _, identity = round_trip(tmp_path, slices)
    restore_identity(source, tmp_path / "again.dcm", identity)
    assert (tmp_path / "again.dcm").read_bytes() == (tmp_path / "final.dcm").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_frame_of_reference_that_the_original_lacks_stays_the_results_own(tmp_path):
    _, final, identity = round_trip(tmp_path, [ct_slice(n, FrameOfReferenceUID=None) for n in (1, 2)])
    assert identity.frame_of_reference_uid is None
    assert final.FrameOfReferenceUID.startswith("2.25.")


def test_shared_instance_uids_are_refused(tmp_path):
    slices = [ct_slice(n, SOPInstanceUID="1.2.840.99999.1.1") for n in range(1, 4)]
    series, identity = deidentify_series(received(tmp_path / "in", slices), tmp_path / "copy", KEYS)
    assert identity.ambiguous_references
    assert len(series.files) == 3
    source = segment(series.files, tmp_path / "seg.dcm")
    with pytest.raises(DeliveryRefused, match="share one SOP Instance UID") as refused:
        restore_identity(source, tmp_path / "final.dcm", identity)
    assert refused.value.code == "ambiguous_references"
    assert not (tmp_path / "final.dcm").exists()


@pytest.mark.parametrize("lost", ["image", "study", "series", "frame of reference"])
def test_a_reference_that_the_identity_does_not_know_is_refused(tmp_path, lost):
    slices = [ct_slice(n) for n in (1, 2)]
    series, identity = deidentify_series(received(tmp_path / "in", slices), tmp_path / "copy", KEYS)
    source = segment(series.files, tmp_path / "seg.dcm")
    original = {
        "image": "1.2.840.99999.1.2",
        "study": "1.2.840.99999.2",
        "series": "1.2.840.99999.3",
        "frame of reference": "1.2.840.99999.4",
    }[lost]
    uid_map = {pseudonym: uid for pseudonym, uid in identity.uid_map.items() if uid != original}
    with pytest.raises(DeliveryRefused) as refused:
        restore_identity(source, tmp_path / "final.dcm", identity.model_copy(update={"uid_map": uid_map}))
    assert refused.value.code == "unmapped_reference"
    assert "1.2.840" not in str(refused.value)
    assert not (tmp_path / "final.dcm").exists()


def test_bytes_that_are_no_result_are_refused(tmp_path):
    series, identity = deidentify_series(received(tmp_path / "in", [ct_slice(1)]), tmp_path / "copy", KEYS)
    source = segment(series.files, tmp_path / "seg.dcm")
    source.write_bytes(source.read_bytes()[:1000] + b"noise" * 20)
    with pytest.raises(DeliveryRefused):
        restore_identity(source, tmp_path / "final.dcm", identity)
    source.write_bytes(b"noise" * 20)
    with pytest.raises(DeliveryRefused) as refused:
        restore_identity(source, tmp_path / "final.dcm", identity)
    assert refused.value.code == "unreadable_result"
    assert not (tmp_path / "final.dcm").exists()


def test_the_sop_class_of_the_round_trip_is_a_segmentation(tmp_path):
    source, final, _ = round_trip(tmp_path, [ct_slice(n) for n in (1, 2)])
    assert final.SOPClassUID == SegmentationStorage
    assert [frame.PlanePositionSequence for frame in final.PerFrameFunctionalGroupsSequence] == [
        frame.PlanePositionSequence for frame in dcmread(source).PerFrameFunctionalGroupsSequence
    ]


def test_a_sender_that_wakes_within_the_work_of_another_spoils_none_of_it(tmp_path, monkeypatch):
    source, final, identity = round_trip(tmp_path, [ct_slice(n) for n in range(1, 5)])
    target = tmp_path / "again.dcm"
    write = restore.dcmwrite

    def interrupted(file, result, **options):
        file.write(b"half")
        file.flush()
        monkeypatch.setattr(restore, "dcmwrite", write)
        restore_identity(source, target, identity)
        assert dcmread(target).SOPInstanceUID == final.SOPInstanceUID
        file.seek(0)
        write(file, result, **options)

    monkeypatch.setattr(restore, "dcmwrite", interrupted)
    restore_identity(source, target, identity)
    assert target.read_bytes() == (tmp_path / "final.dcm").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
