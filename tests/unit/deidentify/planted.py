"""A small CT series with a sentinel wherever a name, an id or an institution can hide."""

import hashlib
from itertools import count

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from covnode.deidentify.keys import PseudonymKeys
from covnode.records.series import ReceivedInstance, ReceivedSeries

KEYS = PseudonymKeys(b"a key for tests, never a site's.")
STUDY_UID, SERIES_UID, FRAME_UID = "1.2.840.99999.2", "1.2.840.99999.3", "1.2.840.99999.4"


def ct_slice(number=1, transfer_syntax=ExplicitVRLittleEndian, **attributes):
    """One slice of 16 x 16 pixels; a value of None removes the attribute."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.2.840.99999.1.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY_UID, SERIES_UID, FRAME_UID
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "MRN-443-221", "19510329"
    dataset.PatientSex, dataset.PatientAge = "F", "071Y"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20220401", "101112", "7", "ACC-1"
    dataset.SeriesDate, dataset.AcquisitionDate, dataset.AcquisitionTime = "20220402", "20220408", "101213.5"
    dataset.ReferringPhysicianName = "Who^Doctor"
    dataset.Modality, dataset.Manufacturer, dataset.ImageType = "CT", "SIEMENS", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ManufacturerModelName, dataset.ConvolutionKernel, dataset.KVP = "Sensation 16", "B40f", "120"
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
    """Write data sets (or bytes of whole files) as the spool holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    instances = []
    for number, content in enumerate(slices):
        path = folder / f"{number:03d}.dcm"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            dcmwrite(path, content, enforce_file_format=True)
        instances.append(ReceivedInstance(path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return ReceivedSeries("series-1", 1, tuple(instances))


_TEXTS = """
    ReferringPhysicianName PerformingPhysicianName OperatorsName NameOfPhysiciansReadingStudy OtherPatientNames
    PatientBirthName PatientMotherBirthName RequestingPhysician PhysiciansOfRecord ResponsiblePerson
    InstitutionName InstitutionAddress InstitutionalDepartmentName PatientAddress PatientComments
    StudyDescription SeriesDescription ProtocolName ImageComments AdditionalPatientHistory MedicalAlerts
    RequestedProcedureDescription PerformedProcedureStepDescription AdmissionID SoftwareVersions FilterType
    WindowCenterWidthExplanation DerivationDescription ContrastBolusAgent DeviceSerialNumber
"""


class Sentinels:
    """Makes distinct values that occur nowhere else and remembers them."""

    def __init__(self):
        self.made = []
        self._number = count()
        self.family, self.given, self.patient_id, self.issuer = self(), self(), self(), self()

    def __call__(self, prefix="Zq"):
        value = f"{prefix}sentinel{next(self._number):03d}x"
        self.made.append(value)
        return value

    def found_in(self, content: bytes):
        return [value for value in self.made if value.lower().encode() in content.lower()]


def full_of_identity(sentinel, number=1, **keywords):
    """A slice with a sentinel in every place that an identity is known to hide in; binary parts included."""
    dataset = ct_slice(number, **keywords)
    dataset.PatientName = f"{sentinel.family}^{sentinel.given}"
    dataset.PatientID, dataset.IssuerOfPatientID = sentinel.patient_id, sentinel.issuer
    dataset.AccessionNumber, dataset.StudyID = "ZQACC77123", "ZQST5512"
    sentinel.made += ["ZQACC77123", "ZQST5512", "1.2.840.99999"]
    for keyword in _TEXTS.split():
        setattr(dataset, keyword, sentinel())
    dataset.StationName, dataset.PatientTelephoneNumbers = sentinel("ZS")[:16], sentinel("+49")[:16]
    sentinel.made += [dataset.StationName, dataset.PatientTelephoneNumbers]
    dataset.RequestAttributesSequence = [nested(sentinel, 3)]
    dataset.ReferencedImageSequence = [nested(sentinel, 2)]
    dataset.SharedFunctionalGroupsSequence = [nested(sentinel, 3)]
    private(dataset, sentinel)
    dataset.add_new(0x60003000, "OW", sentinel().encode().ljust(64, b"\0"))
    dataset.add_new(0x60004000, "LT", sentinel())
    dataset.add_new(0x50003000, "OW", sentinel().encode().ljust(64, b"\0"))
    icon = Dataset()
    icon.Rows = icon.Columns = icon.SamplesPerPixel = 1
    icon.add_new(0x7FE00010, "OB", sentinel().encode())
    dataset.IconImageSequence = [icon]
    dataset.add_new(0xFFFCFFFC, "OB", sentinel().encode())
    dataset.add_new(0x00091001, "UN", sentinel().encode())
    dataset.add_new(0x0008EEEE, "UN", sentinel().encode())
    dataset.add_new(0x00186666, "LO", sentinel())
    dataset.EncryptedAttributesSequence = [nested(sentinel, 1)]
    dataset.preamble = sentinel().encode().ljust(128, b"\0")
    dataset.file_meta.ImplementationVersionName = "ZQIMPL771"
    dataset.file_meta.SourceApplicationEntityTitle = "ZQSOURCE88"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.840.99999.77"
    dataset.file_meta.PrivateInformation = sentinel().encode()
    sentinel.made += ["ZQIMPL771", "ZQSOURCE88"]
    return dataset


def nested(sentinel, depth):
    """An item with sentinels, and items with sentinels in it."""
    item = Dataset()
    item.PatientName, item.PatientID, item.InstitutionName = sentinel(), sentinel(), sentinel()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, "1.2.840.99999.1.1"
    item.CodeMeaning = sentinel()
    private(item, sentinel)
    if depth:
        item.ReferencedSeriesSequence = [nested(sentinel, depth - 1)]
        item.RequestAttributesSequence = [nested(sentinel, depth - 1)]
    return item


def private(dataset, sentinel):
    """A private block with text, bytes and a sequence."""
    block = dataset.private_block(0x0029, sentinel(), create=True)
    block.add_new(0x01, "LO", sentinel())
    block.add_new(0x02, "OB", b"\1\2" + sentinel().encode())
    item = Dataset()
    item.PatientName, item.PatientID = sentinel(), sentinel()
    block.add_new(0x03, "SQ", [item])
