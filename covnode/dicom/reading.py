"""Reads the headers of DICOM Part 10 files and finds the series of a folder.

Comes from files on disk; goes to volume, interlock and the command line. Never reads pixel data, never prints a
warning (pydicom's may quote a patient's values) and never changes a file.
"""

import errno
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from covnode.errors import NotDicom

UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_DATA = 0x7FE00010
_PIXEL_TAGS = frozenset({_PIXEL_DATA, 0x7FE00008, 0x7FE00009})  # and Float and Double Float Pixel Data

# What pydicom raises on bytes that are not a data set; it has no common error of its own.
MALFORMED = (
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

# pydicom's validation mode, its logger and Python's warning filters are global: one thread at a time changes them.
_global_settings = threading.RLock()
_pydicom_log = logging.getLogger("pydicom")


@contextmanager
def quietly() -> Iterator[None]:
    """Use pydicom without its warnings and log, which may quote a patient's values, and without validation.

    Values as a modality wrote them are read and written again, whatever rule of PS3.5 section 6.2 they break.
    """
    with _global_settings, warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        was_disabled, _pydicom_log.disabled = _pydicom_log.disabled, True
        try:
            yield
        finally:
            _pydicom_log.disabled = was_disabled


@dataclass(frozen=True, slots=True)
class PixelLocation:
    """Where the value of Pixel Data lies.

    Attributes
    ----------
    offset
        Byte offset in the file; None in a deflated data set, which has to be inflated first.
    length
        In bytes; UNDEFINED_LENGTH for encapsulated pixel data.
    """

    offset: int | None
    length: int


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The chosen elements before Pixel Data, and where Pixel Data lies (None: there is none)."""

    dataset: FileDataset
    transfer_syntax_uid: str
    pixels: PixelLocation | None


@dataclass(frozen=True)
class FolderSeries:
    """Files of one series, sorted by path."""

    series_instance_uid: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class FolderContents:
    """What a folder holds.

    Attributes
    ----------
    not_dicom
        Files that are not DICOM, or name no series.
    """

    series: tuple[FolderSeries, ...]
    not_dicom: tuple[Path, ...]


def read_header(path: Path, keywords: Collection[str]) -> FileHeader:
    """Read some elements of a Part 10 file, up to Pixel Data.

    Parameters
    ----------
    keywords
        DICOM keywords of the elements to keep, all with tags before Pixel Data; the rest is skipped.

    Raises
    ------
    NotDicom
        When the file is not a DICOM Part 10 file, or its bytes are no data set.
    OSError
        When the file cannot be opened or read.
    """
    with quietly(), path.open("rb") as file:
        try:
            return _read_header(file, keywords)
        except MALFORMED as error:
            raise NotDicom("the file is not a readable DICOM file") from error
        except OSError as error:
            if error.errno == errno.EINVAL:  # a length in the file led to a seek out of any file
                raise NotDicom("the file is not a readable DICOM file") from error
            raise


def open_pixels(path: Path, location: PixelLocation) -> BinaryIO:
    """Open the file at the first byte of the value of Pixel Data; the caller closes it.

    Raises
    ------
    NotDicom, OSError
        As `read_header`.
    """
    if location.offset is not None:
        file = path.open("rb")
        file.seek(location.offset)
        return file
    with quietly():
        try:
            return BytesIO(pydicom.dcmread(path, specific_tags=["PixelData"]).PixelData)
        except MALFORMED as error:
            raise NotDicom("the deflated data set cannot be inflated") from error


def find_series(folder: Path) -> FolderContents:
    """Group the files below a folder by Series Instance UID; a DICOMDIR is passed over.

    Parameters
    ----------
    folder
        Searched recursively; may be a single file.

    Raises
    ------
    OSError
        When the folder itself cannot be read.
    """
    if folder.is_file():
        paths = [folder]
    else:
        any(folder.iterdir())  # raises what rglob passes over: the folder is absent or closed to us
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
    series: dict[str, list[Path]] = {}
    not_dicom: list[Path] = []
    for path in paths:
        try:
            uid = _series_of(path)
        except (NotDicom, OSError):
            uid = ""
        if uid is not None:
            (series.setdefault(uid, []) if uid else not_dicom).append(path)
    return FolderContents(
        series=tuple(FolderSeries(uid, tuple(files)) for uid, files in series.items()), not_dicom=tuple(not_dicom)
    )


def _series_of(path: Path) -> str | None:
    """Series Instance UID; empty where there is none; None for a DICOMDIR."""
    with quietly():
        dataset = read_header(path, ("SeriesInstanceUID",)).dataset
        if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return None
        return str(dataset.get("SeriesInstanceUID") or "")


def _read_header(file: BinaryIO, keywords: Collection[str]) -> FileHeader:
    found: list[PixelLocation] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001  pydicom's signature
        if tag not in _PIXEL_TAGS:
            return False
        if tag == _PIXEL_DATA:
            found.append(PixelLocation(file.tell(), length))
        return True

    tags: list[BaseTag | int] = [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None]
    dataset = read_partial(file, at_pixels, specific_tags=tags)
    transfer_syntax_uid = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        found = [PixelLocation(None, pixels.length) for pixels in found]
    return FileHeader(dataset, transfer_syntax_uid, found[0] if found else None)
