"""Reads the header of a Part 10 file with pydicom and converts none of its values.

Comes from the leak check with every original and every copy; goes back to it as data sets. Half the work of dcmread,
which converts, guesses and repairs: a file without a stated transfer syntax is malformed here.
"""

import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

_PREFIX = slice(128, 132)
_META_GROUP = 0x0002
_TRANSFER_SYNTAX_UID = 0x00020010
_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


class Header(NamedTuple):
    """What stands before Pixel Data, as sent.

    Attributes
    ----------
    before_pixels
        All bytes of it, from the preamble on; a deflated data set inflated, to its end.
    stop
        Where Pixel Data begin in the file, or its end.
    """

    meta: Dataset
    dataset: Dataset
    before_pixels: bytes
    stop: int


def read_unconverted(content: mmap.mmap) -> Header:
    """Read what stands before Pixel Data.

    Raises
    ------
    Exception
        One of `MALFORMED`, or an OSError without a number, when the bytes are not DICOM Part 10.
    """
    if content[_PREFIX] != b"DICM":
        raise InvalidDicomError
    content.seek(_PREFIX.stop)
    # pydicom reads from whatever reads, seeks and tells
    meta = read_dataset(cast("BinaryIO", content), False, True, stop_when=_after_meta)  # noqa: FBT003  pydicom's
    start, stated = content.tell(), meta.get_item(_TRANSFER_SYNTAX_UID)
    if not isinstance(stated, RawDataElement):
        raise InvalidDicomError
    transfer_syntax = UID((stated.value or b"").decode("ascii").rstrip("\0 "))
    is_deflated = transfer_syntax == DeflatedExplicitVRLittleEndian
    buffer = DicomBytesIO(zlib.decompress(content[start:], -zlib.MAX_WBITS)) if is_deflated else content
    dataset = read_dataset(
        cast("BinaryIO", buffer),
        transfer_syntax.is_implicit_VR,
        transfer_syntax.is_little_endian,
        stop_when=_at_pixel_data,
    )
    if isinstance(buffer, DicomBytesIO):
        return Header(meta, dataset, content[:start] + buffer.getvalue(), len(content))
    return Header(meta, dataset, content[: content.tell()], content.tell())


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Map a file into memory: pydicom reads it as it reads a file, in half the time."""
    with path.open("rb", buffering=0) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001  pydicom's signature
    return tag >> 16 != _META_GROUP


def _at_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001  pydicom's signature
    return tag in _PIXEL_DATA
