"""The headers of the source frames, reduced to what a result object takes from them.

Comes from the de-identified files that a CTVolume names; goes to segmentation and structured_report as plain data sets
in the order of the volume's slices. Never reads pixel data, and never passes on an attribute that is not listed here:
highdicom copies every attribute of the Patient and Study modules that it finds, de-identification flags included.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from covnode.dicom.reading import read_header
from covnode.errors import NotDicom, ReportInvalid
from covnode.records.volume import CTVolume, SourceFrame

# Type 2 or conditional attributes: results need them, sources may lack them.
_FILLED_WHEN_ABSENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_COPIED = (
    "IssuerOfPatientID",
    "Modality",
    "Rows",
    "Columns",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "TimezoneOffsetFromUTC",
)
_GEOMETRY = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_READ = [*_FILLED_WHEN_ABSENT, *_REQUIRED, *_COPIED, *_GEOMETRY]
# PS3.3 C.7.1.1: the only values highdicom accepts.
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True)
class SourceSlice:
    """One slice of the volume.

    Attributes
    ----------
    header
        Identity, references and geometry of the slice's instance, as of a single-frame image.
    frame_number
        The 1-based stored frame in a multi-frame instance, else None.
    """

    header: Dataset
    frame_number: int | None


@dataclass(frozen=True)
class SourceSeries:
    """What the results refer to: one slice for each slice of the volume, in its order."""

    slices: tuple[SourceSlice, ...]

    @property
    def header(self) -> Dataset:
        """Header of the first slice, for what all have in common."""
        return self.slices[0].header

    @property
    def instances(self) -> tuple[Dataset, ...]:
        """Headers of the instances, each listed once."""
        return tuple({item.header.SOPInstanceUID: item.header for item in self.slices}.values())


def read_source(volume: CTVolume) -> SourceSeries:
    """Read the headers of the frames that a volume was made from.

    Parameters
    ----------
    volume
        Its ``frames`` name de-identified files, one (frame of a) file a slice.

    Returns
    -------
    SourceSeries
        Headers that hold no more than the results take over.

    Raises
    ------
    ReportInvalid
        A file is gone or unreadable, or lacks a UID or its geometry.
    """
    stored = {path: _read(path) for path in {frame.path: None for frame in volume.frames}}
    slices = tuple(_slice(stored[frame.path], frame, volume) for frame in volume.frames)
    # The loader accepts differences of rounding between slices; a SEG has one orientation and one spacing.
    for item in slices:
        for keyword in ("ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            setattr(item.header, keyword, slices[0].header[keyword].value)
    return SourceSeries(slices)


def _slice(stored: Dataset, frame: SourceFrame, volume: CTVolume) -> SourceSlice:
    header = _common(stored)
    place, orientation, measures = _geometry(stored, frame.frame_number)
    header.ImagePositionPatient = _value(place, "ImagePositionPatient")
    header.ImageOrientationPatient = _value(orientation, "ImageOrientationPatient")
    header.PixelSpacing = _value(measures, "PixelSpacing")
    header.SliceThickness = measures.get("SliceThickness") or float(np.round(volume.spacing_mm[0], 6))
    return SourceSlice(header, frame.frame_number)


def _geometry(stored: Dataset, frame_number: int | None) -> tuple[Dataset, Dataset, Dataset]:
    """Find the holders of position, orientation and spacing (PS3.3 C.7.6.2, C.7.6.16.2)."""
    if frame_number is None:
        return stored, stored, stored
    shared = stored.SharedFunctionalGroupsSequence[0]
    own = stored.PerFrameFunctionalGroupsSequence[frame_number - 1]

    def group(keyword: str) -> Dataset:
        items = own.get(keyword) or shared.get(keyword)
        if not items:
            raise ReportInvalid(f"the multi-frame source has no {keyword}")
        first: Dataset = items[0]
        return first

    return group("PlanePositionSequence"), group("PlaneOrientationSequence"), group("PixelMeasuresSequence")


def _read(path: Path) -> Dataset:
    try:
        return read_header(path, _READ).dataset
    except (OSError, NotDicom) as error:
        raise ReportInvalid("a source file of the volume cannot be read again") from error


def _common(stored: Dataset) -> Dataset:
    header = Dataset()
    for keyword in _REQUIRED:
        setattr(header, keyword, _value(stored, keyword))
    for keyword in _FILLED_WHEN_ABSENT:
        setattr(header, keyword, stored.get(keyword) or "")
    for keyword in _COPIED:
        if keyword in stored:
            setattr(header, keyword, stored[keyword].value)
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    return header


def _value(stored: Dataset, keyword: str) -> object:
    if not stored.get(keyword):
        raise ReportInvalid(f"a source header has no {keyword}")
    return stored[keyword].value
