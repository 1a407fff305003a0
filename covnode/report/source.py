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
from covnode.records.volume import CTVolume

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
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_READ = [*_FILLED_WHEN_ABSENT, *_REQUIRED, *_COPIED, *_GEOMETRY]
# PS3.3 C.7.1.1: the only values highdicom accepts.
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True)
class SourceSeries:
    """What the results refer to.

    Attributes
    ----------
    images
        One header a slice in the order of the volume; or a single multi-frame header whose frames are the volume's
        slices in order.
    frame_numbers
        For a multi-frame source the stored 1-based frame of each slice, else empty.
    """

    images: tuple[Dataset, ...]
    frame_numbers: tuple[int, ...]


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
        A file is gone or unreadable, lacks a UID, or the frames are spread over several multi-frame instances.
    """
    frames = volume.frames
    if all(frame.frame_number is None for frame in frames):
        return SourceSeries(_single_frames(volume), ())
    numbers = tuple(frame.frame_number for frame in frames if frame.frame_number is not None)
    if len(numbers) != len(frames) or len({frame.path for frame in frames}) != 1:
        raise ReportInvalid("the slices come from several multi-frame instances: one SEG cannot refer to them")
    return SourceSeries((_multi_frame(frames[0].path, numbers, volume),), numbers)


def _single_frames(volume: CTVolume) -> tuple[Dataset, ...]:
    headers = tuple(_single_frame(frame.path, volume) for frame in volume.frames)
    # The loader accepts differences of rounding between slices; a SEG has one orientation and one spacing.
    for header in headers:
        header.ImageOrientationPatient = headers[0].ImageOrientationPatient
        header.PixelSpacing = headers[0].PixelSpacing
        header.SliceThickness = headers[0].SliceThickness
    return headers


def _single_frame(path: Path, volume: CTVolume) -> Dataset:
    stored = _read(path)
    header = _common(stored)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        setattr(header, keyword, _value(stored, keyword))
    header.SliceThickness = stored.get("SliceThickness") or _slice_spacing_mm(volume)
    return header


def _multi_frame(path: Path, frame_numbers: tuple[int, ...], volume: CTVolume) -> Dataset:
    """Reduce an enhanced header to the frames in use, with the orientation and the spacing shared (PS3.3 C.7.6.16)."""
    stored = _read(path)
    shared = stored.SharedFunctionalGroupsSequence[0]
    per_frame = [stored.PerFrameFunctionalGroupsSequence[number - 1] for number in frame_numbers]
    header = _common(stored)
    header.NumberOfFrames = len(frame_numbers)
    measures = _group(shared, per_frame[0], "PixelMeasuresSequence")
    if not measures.get("SliceThickness"):
        measures.SliceThickness = _slice_spacing_mm(volume)
    groups = Dataset()
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [_group(shared, per_frame[0], "PlaneOrientationSequence")]
    header.SharedFunctionalGroupsSequence = [groups]
    items = []
    for groups_of_frame in per_frame:
        item = Dataset()
        item.PlanePositionSequence = [_group(shared, groups_of_frame, "PlanePositionSequence")]
        items.append(item)
    header.PerFrameFunctionalGroupsSequence = items
    return header


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


def _group(shared: Dataset, of_frame: Dataset, keyword: str) -> Dataset:
    holder = of_frame if keyword in of_frame else shared
    items = holder.get(keyword)
    if not items:
        raise ReportInvalid(f"the multi-frame source has no {keyword}")
    group: Dataset = items[0]
    return group


def _value(stored: Dataset, keyword: str) -> object:
    if not stored.get(keyword):
        raise ReportInvalid(f"a source header has no {keyword}")
    return stored[keyword].value


def _slice_spacing_mm(volume: CTVolume) -> float:
    return float(np.round(volume.spacing_mm[0], 6))
