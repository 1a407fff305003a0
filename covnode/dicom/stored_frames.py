"""The stored bytes of each frame of one instance, native or compressed.

Comes from a file whose header was read; goes to dicom.decoding by way of volume and deidentify. Never decodes.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.encaps import generate_frames

from covnode.dicom.decoding import is_native
from covnode.dicom.reading import UNDEFINED_LENGTH, PixelLocation, open_pixels
from covnode.errors import PixelDataUnreadable


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """Where and how the frames of one instance are stored.

    Attributes
    ----------
    location
        None where there are no pixel data.
    frame_bytes
        Size of one uncompressed frame (PS3.5 section 8.1.1).
    extended_offsets
        Extended Offset Table and its lengths as stored (PS3.3 C.7.6.3.1.8), where present.
    """

    path: Path
    transfer_syntax_uid: str
    location: PixelLocation | None
    frame_bytes: int
    frame_count: int
    extended_offsets: tuple[bytes, bytes] | None


def bytes_of_frames(stored: StoredFrames, wanted: Container[int]) -> Iterator[tuple[int, bytes]]:
    """0-based index and stored bytes of the wanted frames, in stored order.

    Raises
    ------
    PixelDataUnreadable
        When they are not stored as stated, or end early.
    NotDicom, OSError, and what MALFORMED names
        As the readers of DICOM do.
    """
    location = _stated_pixels(stored)
    with open_pixels(stored.path, location) as file:
        if location.length == UNDEFINED_LENGTH:
            yield from _encapsulated(file, stored, wanted)
        else:
            yield from _native(file, stored, wanted)


def _stated_pixels(stored: StoredFrames) -> PixelLocation:
    """Where the pixel data lie, when they are stored as the transfer syntax and the matrix say."""
    location = stored.location
    if location is None:
        raise PixelDataUnreadable("there are no pixel data")
    native = is_native(stored.transfer_syntax_uid)
    if native == (location.length == UNDEFINED_LENGTH):
        raise PixelDataUnreadable("the pixel data are not stored as the transfer syntax says")
    expected = stored.frame_bytes * stored.frame_count
    expected += expected % 2  # PS3.5 section 8.1.1: padded to an even length
    if native and location.length != expected:
        raise PixelDataUnreadable(f"the pixel data have {location.length} bytes instead of {expected}")
    return location


def _native(file: BinaryIO, stored: StoredFrames, wanted: Container[int]) -> Iterator[tuple[int, bytes]]:
    start, size = file.tell(), stored.frame_bytes
    for index in range(stored.frame_count):
        if index in wanted:
            file.seek(start + index * size)
            data = file.read(size)
            if len(data) != size:
                raise PixelDataUnreadable(
                    f"the pixel data are truncated: {len(data)} of {size} bytes of frame {index + 1}"
                )
            yield index, data


def _encapsulated(file: BinaryIO, stored: StoredFrames, wanted: Container[int]) -> Iterator[tuple[int, bytes]]:
    count = -1
    coded = generate_frames(file, number_of_frames=stored.frame_count, extended_offsets=stored.extended_offsets)
    for count, data in enumerate(coded):
        if count in wanted:
            yield count, data
    if count + 1 != stored.frame_count:
        raise PixelDataUnreadable(f"{count + 1} of {stored.frame_count} compressed frames are there")
