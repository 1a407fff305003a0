"""Reads and writes the elements of a DICOM data set as bytes (PS3.5 section 7), without interpreting values.

Comes from a Part 10 file of the spool; goes to the engine, which decides about every element. Never decodes pixels,
never repairs: bytes that are not what the encoding promises raise UnreadableError.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

# their data themselves: the public functions look one tag up at a time, and warn about a malformed UID
from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

UNDEFINED_LENGTH = 0xFFFFFFFF
TRANSFER_SYNTAX_UID = 0x00020010
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LONG_LENGTH_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT_LENGTH_VRS = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI"}
    | {"UL", "US"}
)
# each as it is written, with whether its length is of four bytes
_VRS = {vr.encode(): (vr, vr in LONG_LENGTH_VRS) for vr in LONG_LENGTH_VRS | _SHORT_LENGTH_VRS}
# of an element, by byte order: with a VR, without one, and a length that stands after the VR
_HEADERS = {
    little: tuple(struct.Struct(order + fields) for fields in ("HH2sH", "HHL", "L"))
    for little, order in ((True, "<"), (False, ">"))
}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONGEST_OF_SHORT_LENGTH = 0xFFFE
_LARGEST_INFLATED_BYTES = 4 << 30

Buffer = bytes | mmap.mmap


class UnreadableError(ValueError):
    """The bytes are no data set of the stated transfer syntax; the message quotes none of them."""


class Encoding(NamedTuple):
    """How elements are written: PS3.5 section 7.1 and Annex A."""

    implicit: bool
    little: bool


EXPLICIT_LITTLE = Encoding(implicit=False, little=True)
IMPLICIT_LITTLE = Encoding(implicit=True, little=True)


class Element(NamedTuple):
    """One element in a buffer.

    Attributes
    ----------
    vr
        As the file states it; empty in implicit VR.
    begin, start, stop
        Byte offsets in the buffer: of the tag, of the value, and after the value (of undefined length: after the
        delimiter).
    undefined
        Whether the length is undefined.
    """

    tag: int
    vr: str
    begin: int
    start: int
    stop: int
    undefined: bool


@dataclass(frozen=True)
class Part10:
    """A Part 10 file, opened.

    Attributes
    ----------
    data
        The bytes that hold the data set (inflated if the transfer syntax deflates).
    start
        Where the data set begins in ``data``.
    """

    transfer_syntax_uid: str
    encoding: Encoding
    deflated: bool
    data: Buffer
    start: int


def open_part10(path: Path) -> Part10:
    """Map a Part 10 file into memory and read its file meta information (PS3.10 section 7.1).

    Raises
    ------
    UnreadableError
        When it is no Part 10 file, or its transfer syntax is not a registered one.
    OSError
        When the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise UnreadableError("the file is empty") from error
    if mapped[128:132] != b"DICM":
        raise UnreadableError("the file is not DICOM Part 10")
    start, transfer_syntax_uid = 132, ""
    for element in elements(mapped, 132, len(mapped), EXPLICIT_LITTLE):
        if element.tag >> 16 != 0x0002:
            break
        start = element.stop
        if element.tag == TRANSFER_SYNTAX_UID:
            value = mapped[element.start : element.stop]
            transfer_syntax_uid = value.decode("ascii", "replace").strip("\0 ")
        if mapped[start : start + 2] != b"\x02\x00":  # what follows may be encoded otherwise
            break
    return _data_set(mapped, start, transfer_syntax_uid)


def _data_set(mapped: mmap.mmap, start: int, transfer_syntax_uid: str) -> Part10:
    if UID_dictionary.get(transfer_syntax_uid, ("", ""))[1] != "Transfer Syntax":
        raise UnreadableError("the transfer syntax is missing or not a registered one")
    encoding = Encoding(
        implicit=transfer_syntax_uid == ImplicitVRLittleEndian, little=transfer_syntax_uid != ExplicitVRBigEndian
    )
    if transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return Part10(transfer_syntax_uid, encoding, deflated=False, data=mapped, start=start)
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(mapped[start:], _LARGEST_INFLATED_BYTES)
    except zlib.error as error:
        raise UnreadableError("the deflated data set cannot be inflated") from error
    if len(inflated) == _LARGEST_INFLATED_BYTES:
        raise UnreadableError("the deflated data set inflates to an absurd size")
    return Part10(transfer_syntax_uid, encoding, deflated=True, data=inflated, start=0)


def elements(data: Buffer, start: int, stop: int, encoding: Encoding) -> Iterator[Element]:
    """Walk over the elements between two offsets; ends before Pixel Data of undefined length is walked over.

    Raises
    ------
    UnreadableError
        When an element is not encoded as stated, or reaches past ``stop`` (native Pixel Data may: it is truncated,
        and its element says so by a stop after ``stop``).
    """
    with_vr, without_vr, after_vr = _HEADERS[encoding.little]
    while start < stop:
        begin, start = start, start + 8
        if start > stop:
            raise UnreadableError("the data set ends within an element")
        group, number, stated_vr, length = with_vr.unpack_from(data, begin)
        tag, vr = group << 16 | number, ""
        if encoding.implicit or group == _ITEM >> 16:
            length = without_vr.unpack_from(data, begin)[2]
        else:
            vr, length_is_long = _VRS.get(stated_vr, ("", True))
            if length_is_long:
                start += 4
                if not vr or start > stop:
                    raise UnreadableError(f"({group:04X},{number:04X}) has no known value representation")
                length = after_vr.unpack_from(data, start - 4)[0]
        undefined = length == UNDEFINED_LENGTH
        after = start + length
        if undefined:
            after = start if tag in PIXEL_DATA else _after_undefined(data, start, stop, _inner(vr, encoding))
        elif after > stop and tag not in PIXEL_DATA:
            raise UnreadableError(f"({group:04X},{number:04X}) is longer than what holds it")
        yield Element(tag, vr, begin, start, after, undefined)
        start = after


def _inner(vr: str, encoding: Encoding) -> Encoding:
    """Items in an element of VR UN are always Implicit VR Little Endian (PS3.5 section 6.2.2)."""
    return IMPLICIT_LITTLE if vr == "UN" else encoding


def items(data: Buffer, sequence: Element, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Offsets (start, stop) of the content of each item of a sequence.

    Raises
    ------
    UnreadableError
        When the value is no sequence of items.
    """
    position = sequence.start
    while position < sequence.stop:
        tag, start, content_stop, position = _item(data, position, sequence.stop, encoding)
        if tag == _SEQUENCE_END:
            return
        yield start, content_stop


def _item(data: Buffer, begin: int, stop: int, encoding: Encoding) -> tuple[int, int, int, int]:
    """Tag, start and stop of the content, and the offset after the item (or after a sequence's delimiter)."""
    if begin + 8 > stop:
        raise UnreadableError("a sequence ends within an item")
    group, number, length = struct.unpack_from("<HHL" if encoding.little else ">HHL", data, begin)
    tag, start = group << 16 | number, begin + 8
    if tag == _SEQUENCE_END and length == 0:
        return tag, start, start, start
    if tag != _ITEM:
        raise UnreadableError("a sequence holds something else than items")
    if length != UNDEFINED_LENGTH:
        if start + length > stop:
            raise UnreadableError("an item is longer than its sequence")
        return tag, start, start + length, start + length
    for element in elements(data, start, stop, encoding):
        if element.tag == _ITEM_END:
            return tag, start, element.begin, element.stop
    raise UnreadableError("an item of undefined length has no end")


def _after_undefined(data: Buffer, start: int, stop: int, encoding: Encoding) -> int:
    position, tag = start, _ITEM
    while tag != _SEQUENCE_END:
        tag, _, _, position = _item(data, position, stop, encoding)
    return position


def inner_encoding(element: Element, encoding: Encoding) -> Encoding:
    """State the encoding of the items of a sequence."""
    return _inner(element.vr, encoding)


def pixel_data_stop(data: Buffer, element: Element, encoding: Encoding) -> int:
    """Offset after Pixel Data, delimiter included; truncated pixel data ends with the file.

    Raises
    ------
    UnreadableError
        When encapsulated pixel data holds something else than fragments (PS3.5 section A.4).
    """
    if not element.undefined:
        return min(element.stop, len(data))
    position = element.start
    while position + 8 <= len(data):
        group, number, length = struct.unpack_from("<HHL" if encoding.little else ">HHL", data, position)
        tag, position = group << 16 | number, position + 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM or length == UNDEFINED_LENGTH:
            raise UnreadableError("the pixel data hold something else than fragments")
        position += length
    return len(data)


def encode(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """One element with a defined length; the value is padded to an even length (PS3.5 section 7.1.1).

    Raises
    ------
    UnreadableError
        When it is too long for its VR: it came as VR UN, or grew with its UIDs.
    """
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB", "UN"} else b" "
    order = "<" if encoding.little else ">"
    group, number = tag >> 16, tag & 0xFFFF
    if encoding.implicit:
        return struct.pack(f"{order}HHL", group, number, len(value)) + value
    if vr in LONG_LENGTH_VRS:
        return struct.pack(f"{order}HH2sHL", group, number, vr.encode(), 0, len(value)) + value
    if len(value) > _LONGEST_OF_SHORT_LENGTH:
        raise UnreadableError(f"({group:04X},{number:04X}) is too long for its value representation")
    return struct.pack(f"{order}HH2sH", group, number, vr.encode(), len(value)) + value


def encode_item(content: bytes, encoding: Encoding) -> bytes:
    """One item of a sequence with a defined length."""
    return struct.pack("<HHL" if encoding.little else ">HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content


def vr_of(tag: int) -> str:
    """VR of a standard attribute ("US or SS" where the dictionary leaves a choice); empty for any other tag."""
    return _dictionary().get(tag, ("", 0))[0]


def most_values(tag: int) -> int:
    """Largest value multiplicity of a standard attribute; 0 where the dictionary sets no limit."""
    return _dictionary().get(tag, ("", 0))[1]


@cache
def _dictionary() -> dict[int, tuple[str, int]]:
    """VR and largest value multiplicity by tag."""
    largest = {tag: entry[1].rsplit("-", 1)[-1] for tag, entry in DicomDictionary.items()}
    return {
        tag: (entry[0], int(largest[tag]) if largest[tag].isdigit() else 0) for tag, entry in DicomDictionary.items()
    }
