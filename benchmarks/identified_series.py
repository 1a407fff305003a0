"""A CT series whose headers are as long as a scanner's, with sentinels where identity stands, for the benchmarks.

Some 110 elements a slice: what a CT of a large vendor sends, sequences, referenced images and private blocks included.
"""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SENTINELS = ("zqfamily", "zqgiven", "zqid7712", "zqacc901", "zqhospital", "zqdoctor", "zqprivate", "zqnested", "zqtext")
_ROOT = "1.2.840.99999"
_TEXTS = (
    "StudyDescription SeriesDescription ProtocolName ImageComments PatientComments AdditionalPatientHistory "
    "RequestedProcedureDescription PerformedProcedureStepDescription MedicalAlerts Allergies DeviceSerialNumber"
)
_NUMBERS = {
    "SliceThickness": "1", "KVP": "120", "SpacingBetweenSlices": "1", "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "360", "DistanceSourceToDetector": "1085.6", "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0", "TableHeight": "162", "ExposureTime": "500", "XRayTubeCurrent": "188",
    "Exposure": "150", "GeneratorPower": "23", "FocalSpots": ["0.6", "1.2"], "RescaleIntercept": "-1024",
    "RescaleSlope": "1", "WindowCenter": ["-500", "50"], "WindowWidth": ["1500", "350"],
    "PixelSpacing": ["0.703125", "0.703125"], "PatientWeight": "71", "PatientSize": "1.72",
    "SeriesNumber": 3, "AcquisitionNumber": 1,
}  # fmt: skip


def write_identified_series(folder: Path, count: int, size: int = 512) -> list[Path]:
    """Write a series of explicit VR little endian CT images; return its files in their order."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    paths = []
    for number in range(1, count + 1):
        dataset = _slice(number)
        dataset.Rows = dataset.Columns = size
        dataset.PixelData = noise.integers(0, 4096, size**2, "<u2").tobytes()
        paths.append(folder / f"{number:05d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _slice(number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.SourceApplicationEntityTitle = "ZQSOURCE"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{_ROOT}.1.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}.2", f"{_ROOT}.3"
    dataset.FrameOfReferenceUID = f"{_ROOT}.4"
    _identify(dataset, number)
    dataset.Modality, dataset.Manufacturer, dataset.ImageType = "CT", "SIEMENS", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ManufacturerModelName, dataset.ConvolutionKernel, dataset.FilterType = "Sensation 16", "B40f", "0"
    dataset.BodyPartExamined, dataset.PatientPosition, dataset.ScanOptions = "CHEST", "HFS", "HELIX"
    dataset.RotationDirection, dataset.SoftwareVersions = "CW", "VB20B"
    for keyword, value in _NUMBERS.items():
        setattr(dataset, keyword, value)
    dataset.InstanceNumber, dataset.SliceLocation = number, f"{number}.5"
    dataset.ImagePositionPatient = ["-180", "-180", f"{number}.5"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.RescaleType = 1, "MONOCHROME2", "HU"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = 0, 4095
    dataset.CTDIvol = 10.6
    _nest(dataset, number)
    for group, length in ((0x0019, 64), (0x0021, 64), (0x0029, 4096)):
        block = dataset.private_block(group, f"VENDOR {group:04X} zqprivate", create=True)
        for element in range(4):
            block.add_new(element, "LO", f"zqprivate {element}")
        block.add_new(0x10, "OB", b"zqprivate".ljust(length, b"\1"))
    return dataset


def _identify(dataset: Dataset, number: int) -> None:
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Zqfamily^Zqgiven", "ZQID7712", "19510329"
    dataset.PatientSex, dataset.PatientAge, dataset.OtherPatientIDs = "F", "071Y", "ZQID7712B"
    dataset.StudyID, dataset.AccessionNumber = "ZQST55", "ZQACC901"
    for event in ("Study", "Series", "Acquisition", "Content", "InstanceCreation"):
        setattr(dataset, f"{event}Date", "20220401")
        setattr(dataset, f"{event}Time", f"1011{number % 60:02d}.5")
    dataset.ReferringPhysicianName = dataset.PerformingPhysicianName = dataset.OperatorsName = "Zqdoctor^A"
    dataset.InstitutionName, dataset.InstitutionalDepartmentName = "Zqhospital", "Zqhospital, Radiology"
    dataset.InstitutionAddress, dataset.StationName = "Zqhospital street 1", "ZQSTATION1"
    for keyword in _TEXTS.split():
        setattr(dataset, keyword, f"zqtext of {keyword}"[:60])


def _nest(dataset: Dataset, number: int) -> None:
    """Sequences as scanners send them, and one with identity two levels down."""
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, f"{_ROOT}.5.{number // 100}"
    dataset.ReferencedImageSequence = dataset.SourceImageSequence = [image]
    study = Dataset()
    study.ReferencedSOPInstanceUID, study.ReferencedSOPClassUID = f"{_ROOT}.6", "1.2.840.10008.3.1.2.3.1"
    dataset.ReferencedStudySequence = dataset.ReferencedPerformedProcedureStepSequence = [study]
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "ZQCT1", "99LOCAL", "zqnested CT of the chest"
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "zqnested1", "zqnested2"
    request.ScheduledProcedureStepDescription, request.ScheduledProtocolCodeSequence = "zqnested", [code]
    dataset.RequestAttributesSequence, dataset.ProcedureCodeSequence = [request], [code]
    exposure = Dataset()
    exposure.ExposureTimeInms, exposure.XRayTubeCurrentInmA, exposure.CTDIvol = 500.0, 188.0, 10.6
    dataset.CTExposureSequence = [exposure]
