"""Decodes the frames of an original, to be looked at for text or overwritten where there is some.

Comes from a file of the spool or of the engine's draft; goes to burned_in and to masking. Fails closed: a frame that
cannot be decoded is one that nobody has looked at. Never changes a file.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covnode.dicom.decoding import Words, words_of
from covnode.dicom.reading import MALFORMED, quietly, read_header
from covnode.dicom.stored_frames import StoredFrames, bytes_of_frames
from covnode.dicom.values import integer
from covnode.errors import DeidentificationRefused, NotDicom, PixelDataUnreadable

_NUMBERS = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
_KEYWORDS = (*_NUMBERS, "NumberOfFrames", "PixelPaddingValue", "ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_BITS_ALLOCATED = (8, 16, 32)
_MOST_PIXELS = 1 << 26
_MOST_BITS = 24


@dataclass(frozen=True)
class Pictures:
    """How the frames of one instance are stored.

    Attributes
    ----------
    padding_value
        Pixel Padding Value as in the file, None where there is none.
    """

    stored: StoredFrames
    shape: tuple[int, int]
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    padding_value: int | None

    def words(self, wanted: Container[int]) -> Iterator[tuple[int, Words]]:
        """0-based index and pixel words of the wanted frames.

        Raises
        ------
        DeidentificationRefused
            ``pixel_data_unreadable``.
        OSError
            When the file cannot be read.
        """
        try:
            for index, data in bytes_of_frames(self.stored, wanted):
                yield index, words_of(data, self.shape, self.bits_allocated, self.stored.transfer_syntax_uid)
        except (PixelDataUnreadable, NotDicom, *MALFORMED) as error:
            raise unreadable_pixels() from error

    def values(self, words: Words) -> NDArray[np.int64]:
        """Numbers that the words stand for; without the bits above those stored (PS3.5 section 8.1.1)."""
        numbers = words.astype(np.int64) & ((1 << self.bits_stored) - 1)
        if not self.is_signed:
            return numbers
        return numbers - ((numbers >> (self.bits_stored - 1)) << self.bits_stored)

    def to_look_at(self, words: Words) -> NDArray[np.int64]:
        """Values of at most 24 bits: what is deeper loses its lowest bits."""
        return self.values(words) >> max(0, self.bits_stored - _MOST_BITS)


def unreadable_pixels() -> DeidentificationRefused:
    """Make the refusal of pixels that nobody can look at."""
    return DeidentificationRefused(
        "an image cannot be decoded, so nobody can say whether it shows text", "pixel_data_unreadable"
    )


def open_pictures(path: Path) -> Pictures:
    """Read how the frames of a file are stored.

    Raises
    ------
    DeidentificationRefused
        ``pixel_data_unreadable`` when they are in no form that is read here: monochrome, whole numbers of 8, 16 or
        32 bits.
    OSError
        When the file cannot be read.
    """
    with quietly():
        try:
            header = read_header(path, _KEYWORDS)
        except NotDicom as error:
            raise unreadable_pixels() from error
        dataset = header.dataset
        stated = [integer(dataset, keyword) for keyword in _NUMBERS]
        padding_value, frame_count = integer(dataset, "PixelPaddingValue"), integer(dataset, "NumberOfFrames")
        offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    rows, columns, samples, allocated, stored, high_bit, representation = (number or 0 for number in stated)
    is_readable = samples == 1 and allocated in _BITS_ALLOCATED and 0 < stored <= allocated and high_bit == stored - 1
    if not is_readable or not 0 < rows * columns <= _MOST_PIXELS:
        raise unreadable_pixels()
    return Pictures(
        stored=StoredFrames(
            path=path,
            transfer_syntax_uid=header.transfer_syntax_uid,
            location=header.pixels if header.pixels and header.pixels.length else None,
            frame_bytes=rows * columns * allocated // 8,
            frame_count=frame_count or 1,
            extended_offsets=(offsets, lengths) if isinstance(offsets, bytes) and isinstance(lengths, bytes) else None,
        ),
        shape=(rows, columns),
        bits_allocated=allocated,
        bits_stored=stored,
        is_signed=bool(representation),
        padding_value=padding_value,
    )
