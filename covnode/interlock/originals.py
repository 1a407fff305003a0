"""The series as it was received: whose it is and where each frame lies. The measure of every check.

Comes from the spool's files (identity inside, any transfer syntax, headers only); goes to the other modules of
interlock. Never reads a de-identified copy, never keeps an identity longer than the check.
"""

import errno
import filecmp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from covnode.dicom.reading import MALFORMED, quietly, read_header
from covnode.errors import DeliveryRefused, NotDicom, TransientError
from covnode.interlock.refusals import Rule, refusal

PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID")
STUDY = ("StudyInstanceUID", "AccessionNumber", "StudyID", "StudyDate")
_SERIES = ("SeriesInstanceUID", "FrameOfReferenceUID", "PatientIdentityRemoved")
_INSTANCE = ("SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "NumberOfFrames")
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_READ = (*PATIENT, *STUDY, *_SERIES, *_INSTANCE, *_GEOMETRY, *_GROUPS)

FrameKey = tuple[str, int | None]


@dataclass(frozen=True)
class Plane:
    """Where one frame lies (PS3.3 C.7.6.2.1.1), LPS, mm.

    Attributes
    ----------
    position
        Centre of the first pixel, shape (3,).
    row_step, column_step
        From one row to the next, and from one column to the next, shape (3,).
    """

    position: NDArray[np.float64]
    row_step: NDArray[np.float64]
    column_step: NDArray[np.float64]
    rows: int
    columns: int


@dataclass(frozen=True)
class Originals:
    """What the results must agree with.

    Attributes
    ----------
    values
        Patient, study and series attributes as text; empty when absent.
    sop_classes
        SOP Instance UID -> SOP Class UID.
    planes
        (SOP Instance UID, frame number or None) -> plane, of the frames that have one.
    """

    values: Mapping[str, str] = field(repr=False)
    sop_classes: Mapping[str, str] = field(repr=False)
    planes: Mapping[FrameKey, Plane] = field(repr=False)

    @property
    def uids(self) -> frozenset[str]:
        """Every UID of the originals that a result may repeat."""
        names = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
        return frozenset([*self.sop_classes, *(self.values[name] for name in names)])


def read_originals(paths: Sequence[Path]) -> Originals:
    """Read the headers of all files of one received series.

    Raises
    ------
    DeliveryRefused
        ``originals`` when a file is unreadable or the files are not of one patient, study and series;
        ``ambiguous_references`` when files of different content share one SOP Instance UID.
    TransientError
        The storage fails.
    """
    if not paths:
        raise refusal(Rule.ORIGINALS, "the series as received is gone")
    sop_classes: dict[str, str] = {}
    planes: dict[FrameKey, Plane] = {}
    paths_of: dict[str, list[Path]] = {}
    values: Mapping[str, str] = {}
    for path in paths:
        instance = _read(path)
        values = values or instance.values
        if instance.values != values:
            differing = ", ".join(sorted(name for name in values if instance.values[name] != values[name]))
            raise refusal(Rule.ORIGINALS, f"the files as received differ in {differing}")
        sop_classes[instance.uid] = instance.sop_class_uid
        planes.update({(instance.uid, number): plane for number, plane in instance.planes})
        paths_of.setdefault(instance.uid, []).append(path)
    _refuse_ambiguous(paths_of)
    return Originals(values, sop_classes, planes)


def text_of(dataset: Dataset, keyword: str) -> str:
    """Value of an attribute as decoded text; empty when absent. Trailing padding does not count (PS3.5 6.2)."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).rstrip(" =\0")


def plane_of(holder: Dataset, orientation: Dataset, measures: Dataset, matrix: tuple[int, int]) -> Plane | None:
    """Plane by the three macros; None when one is incomplete.

    Parameters
    ----------
    holder, orientation, measures
        Data sets with Image Position (Patient), Image Orientation (Patient) and Pixel Spacing.
    matrix
        Rows and columns.
    """
    position = holder.get("ImagePositionPatient")
    cosines = orientation.get("ImageOrientationPatient")
    spacing = measures.get("PixelSpacing")
    if not position or not cosines or not spacing or (len(position), len(cosines), len(spacing)) != (3, 6, 2):
        return None
    row_cosines, column_cosines = np.array(cosines, np.float64).reshape(2, 3)
    # Pixel Spacing names the distance of rows first; the first cosines are the direction in which columns follow.
    return Plane(
        position=np.array(position, np.float64),
        row_step=column_cosines * float(spacing[0]),
        column_step=row_cosines * float(spacing[1]),
        rows=matrix[0],
        columns=matrix[1],
    )


@dataclass(frozen=True)
class _Instance:
    """One file as received."""

    uid: str
    sop_class_uid: str
    values: Mapping[str, str] = field(repr=False)
    planes: tuple[tuple[int | None, Plane], ...]


def _read(path: Path) -> _Instance:
    try:
        with quietly():
            header = read_header(path, _READ).dataset
            return _Instance(
                uid=text_of(header, "SOPInstanceUID"),
                sop_class_uid=text_of(header, "SOPClassUID"),
                values={keyword: text_of(header, keyword) for keyword in (*PATIENT, *STUDY, *_SERIES)},
                planes=tuple(_planes(header)),
            )
    except OSError as error:
        # pydicom raises it too, without a number, on a sequence that ends early.
        if error.errno not in (None, errno.ENOENT):
            raise TransientError("a file as received cannot be read at present") from error
        raise refusal(Rule.ORIGINALS, "a file as received is gone or damaged") from error
    except (NotDicom, *MALFORMED) as error:
        raise refusal(Rule.ORIGINALS, "a file as received is no readable DICOM file") from error


def _planes(header: Dataset) -> Iterator[tuple[int | None, Plane]]:
    matrix = (int(header.get("Rows") or 0), int(header.get("Columns") or 0))
    if "PerFrameFunctionalGroupsSequence" not in header:
        plane = plane_of(header, header, header, matrix)
        if plane is not None:
            yield None, plane
        return
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence, start=1):
        position, orientation, measures = (
            (own.get(keyword) or shared.get(keyword) or [Dataset()])[0]
            for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        )
        plane = plane_of(position, orientation, measures, matrix)
        if plane is not None:
            yield number, plane


def _refuse_ambiguous(paths_of: Mapping[str, Sequence[Path]]) -> None:
    shared = [paths for paths in paths_of.values() if len(paths) > 1]
    if any(not _same_content(first, second) for paths in shared for first, second in pairwise(paths)):
        raise _ambiguous()


def _ambiguous() -> DeliveryRefused:
    return refusal(
        Rule.AMBIGUOUS_REFERENCES, "different images share one SOP Instance UID: a reference would name no single image"
    )


def _same_content(first: Path, second: Path) -> bool:
    """Whether two files hold the same data set; file meta information and preamble do not count."""
    if filecmp.cmp(first, second, shallow=False):
        return True
    with quietly():
        return bool(dcmread(first) == dcmread(second))
