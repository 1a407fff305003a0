"""Phantoms as DICOM files: valid CT Image Storage, one instance a slice, or one Enhanced CT instance.

Takes a Phantom and a Layout; writes Part 10 files (explicit VR little endian) with the truth beside them. Every
file says that it is a phantom. UIDs follow from the content, so that equal calls write equal files.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from covnode.learn.phantom_elements import decimals, set_pixels
from covnode.learn.phantom_enhanced import enhanced_dataset
from covnode.learn.phantom_layout import InstanceOrder, Layout, PatientPosition, StoredSeries, laid_out, store
from covnode.learn.phantom_records import Phantom
from covnode.learn.phantom_truth import write_truth

__all__ = ["InstanceOrder", "Layout", "PatientPosition", "PhantomFiles", "write_phantom"]

_ROOT = uuid.UUID("6f4f8a86-8f6b-5b0a-9c3e-0d6a2b3a7c11")


@dataclass(frozen=True)
class PhantomFiles:
    """What write_phantom wrote.

    Attributes
    ----------
    dicom
        By Instance Number.
    """

    dicom: tuple[Path, ...]
    truth_json: Path
    truth_npz: Path


def write_phantom(
    phantom: Phantom, out: Path, *, layout: Layout | None = None, attributes: Mapping[str, object] | None = None
) -> PhantomFiles:
    """Write the phantom into a folder: NNNN.dcm, truth.json and truth.npz.

    Parameters
    ----------
    out
        Made when absent.
    attributes
        Keyword -> value of top-level attributes that replace the phantom's own (PatientName, StudyInstanceUID,
        SOPInstanceUID, ...) in every instance; None empties one.
    """
    layout = layout or Layout()
    given = dict(attributes or {})
    out.mkdir(parents=True, exist_ok=True)
    phantom = laid_out(phantom, layout)
    series = store(phantom, layout)
    name = f"{phantom.preset}/{phantom.seed}/{phantom.voxels_hu.shape}/{layout}/{sorted(given.items())}"
    common = _common(phantom, layout, name)
    if layout.enhanced:
        datasets = [enhanced_dataset(common, series, _uid(name, "instance"))]
    else:
        datasets = [_slice_dataset(common, series, index, name) for index in range(len(series.frames))]
    paths = []
    for number, dataset in enumerate(datasets, start=1):
        for keyword, value in given.items():
            setattr(dataset, keyword, value)
        dataset.file_meta = _file_meta(dataset)
        paths.append(out / f"{number:04d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    truth_json, truth_npz = write_truth(phantom, out)
    return PhantomFiles(tuple(paths), truth_json, truth_npz)


def _uid(*names: str) -> UID:
    """UUID-derived UID (PS3.5 B.2) that follows from its names."""
    return UID(f"2.25.{uuid.uuid5(_ROOT, '|'.join(names)).int}")


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    return meta


def _common(phantom: Phantom, layout: Layout, name: str) -> Dataset:
    """Patient, study, series, frame of reference and equipment: what every instance repeats."""
    dataset = Dataset()
    patient = f"{phantom.preset}/{phantom.seed}"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"Phantom^{phantom.preset}"
    dataset.PatientID = f"PHANTOM-{phantom.seed}"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.PatientAge = "056Y"
    dataset.QualityControlSubject = "YES"
    dataset.StudyInstanceUID = _uid(patient, "study")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260105"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101500"
    dataset.StudyID = "1"
    dataset.AccessionNumber = f"ACC-{phantom.seed}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Synthetic phantom, no patient"
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = _uid(name, "series")
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = f"Phantom {phantom.preset}"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = layout.patient_position.value
    dataset.FrameOfReferenceUID = _uid(patient, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "covnode phantom"
    dataset.ManufacturerModelName = "synthetic thorax"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "1"
    dataset.ImageComments = "Synthetic phantom made by covnode: no patient, not for diagnosis"
    dataset.BurnedInAnnotation = "NO"
    dataset.AcquisitionNumber = 1
    if phantom.contrast_agent:
        dataset.ContrastBolusAgent = "Synthetic"
    return dataset


def _slice_dataset(common: Dataset, series: StoredSeries, index: int, name: str) -> Dataset:
    """Return one CT Image Storage instance (PS3.3 A.3)."""
    frame = series.frames[index]
    dataset = Dataset()
    dataset.update(common)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = _uid(name, "instance", str(frame.instance_number))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = frame.instance_number
    dataset.PixelSpacing = decimals(*series.pixel_spacing_mm)
    dataset.ImageOrientationPatient = decimals(*series.orientation_lps)
    dataset.ImagePositionPatient = decimals(*frame.position_lps_mm)
    dataset.SliceThickness = decimals(series.slice_spacing_mm)[0]
    dataset.GantryDetectorTilt = decimals(series.tilt_deg)[0]
    dataset.KVP = 120
    dataset.ConvolutionKernel = "PHANTOM"
    dataset.RescaleIntercept = -1024
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter = -500
    dataset.WindowWidth = 1500
    set_pixels(dataset, frame.stored.shape)
    dataset.PixelData = frame.stored.astype("<u2").tobytes()
    return dataset
