"""Reads the few header elements that the front door needs, from the bytes of a data set as they came.

Comes from spool; goes back to it. Walks the elements (PS3.5 section 7.1) without making a data set of them, unless they
lie as those of a header before. Never reads pixel data, and never trusts a length beyond the bytes that are there.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from covnode.dicom.dimse import CANNOT_UNDERSTAND
from covnode.errors import InstanceRefused
from covnode.receive.header_layout import Head, Layouts

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
IMAGE_TYPE = 0x00080008
PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
ACQUISITION_NUMBER = 0x00200012
INSTANCE_NUMBER = 0x00200013
IMAGE_POSITION_PATIENT = 0x00200032
IMAGE_ORIENTATION_PATIENT = 0x00200037
IMAGES_IN_ACQUISITION = 0x00201002
NUMBER_OF_SERIES_RELATED_INSTANCES = 0x00201209
NUMBER_OF_FRAMES = 0x00280008
STUDY_PRIORITY_ID = 0x0032000C
REQUESTED_PROCEDURE_PRIORITY = 0x00401003
_WANTED = frozenset(
    {
        SOP_CLASS_UID,
        SOP_INSTANCE_UID,
        IMAGE_TYPE,
        PATIENT_NAME,
        PATIENT_ID,
        STUDY_INSTANCE_UID,
        SERIES_INSTANCE_UID,
        ACQUISITION_NUMBER,
        INSTANCE_NUMBER,
        IMAGE_POSITION_PATIENT,
        IMAGE_ORIENTATION_PATIENT,
        IMAGES_IN_ACQUISITION,
        NUMBER_OF_SERIES_RELATED_INSTANCES,
        NUMBER_OF_FRAMES,
        STUDY_PRIORITY_ID,
        REQUESTED_PROCEDURE_PRIORITY,
    }
)
_LAST = max(_WANTED)
_FIRST_OF_A_DATA_SET = 0x00080000

# PS3.5 section 7.1.2: these VRs have two reserved bytes and a length of 32 bits.
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)
_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_MAX_DEPTH = 64
_MAX_VALUE_BYTES = 1024
_MAX_ELEMENTS = 200_000
_FIRST_READ_BYTES = 1 << 14
_MAX_HEADER_BYTES = 1 << 26

Read = Callable[[int], bytes]
"""(count) -> the first ``count`` bytes of the data set, fewer where it is shorter."""


class _NeedMore(Exception):  # noqa: N818 (no error: the walk goes on with more bytes)
    """The header is longer than the bytes at hand."""


@dataclass(frozen=True)
class _Encoding:
    """How the elements are encoded; ``tag_and_short`` and ``long`` unpack from (data, position)."""

    implicit: bool
    tag_and_short: Callable[[bytes, int], tuple[Any, ...]]
    long: Callable[[bytes, int], tuple[Any, ...]]


def _encoding(order: str, *, implicit: bool) -> _Encoding:
    # Group, element, two bytes of VR and a length of 16 bits; or a length of 32 bits.
    return _Encoding(implicit, struct.Struct(f"{order}HH2sH").unpack_from, struct.Struct(f"{order}L").unpack_from)


_IMPLICIT = _encoding("<", implicit=True)
_EXPLICIT = _encoding("<", implicit=False)
_BIG_ENDIAN = _encoding(">", implicit=False)
_ENCODINGS = {str(ImplicitVRLittleEndian): _IMPLICIT, str(ExplicitVRBigEndian): _BIG_ENDIAN}


def scan(read: Read, transfer_syntax_uid: str, layouts: Layouts) -> dict[int, bytes]:
    """Return the raw values of the wanted elements of the top level, by tag.

    Parameters
    ----------
    read
        Gives the first bytes of the data set.
    transfer_syntax_uid
        Of the presentation context, or of the file meta information.
    layouts
        Of the headers before.

    Raises
    ------
    InstanceRefused
        0xC000: the bytes are no data set.
    """
    encoding = _ENCODINGS.get(transfer_syntax_uid, _EXPLICIT)
    count = _FIRST_READ_BYTES
    while True:
        data = read(count)
        is_whole = len(data) < count
        if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            data, is_whole = _inflated(data, count, is_whole=is_whole)
        try:
            return layouts.read(encoding, data) or _walk(data, encoding, layouts, is_whole=is_whole)
        except _NeedMore:
            if is_whole or count >= _MAX_HEADER_BYTES:
                raise InstanceRefused("the data set ends within its header", CANNOT_UNDERSTAND) from None
            count = min(count * 8, _MAX_HEADER_BYTES)


def _inflated(data: bytes, limit: int, *, is_whole: bool) -> tuple[bytes, bool]:
    """Inflate up to ``limit`` bytes (PS3.5 A.5); a bomb is never unpacked further than a header is long."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        header = inflater.decompress(data, limit)
    except zlib.error:
        raise InstanceRefused("the deflated data set cannot be inflated", CANNOT_UNDERSTAND) from None
    return header, is_whole and not inflater.unconsumed_tail


def _walk(data: bytes, encoding: _Encoding, layouts: Layouts, *, is_whole: bool) -> dict[int, bytes]:
    heads: list[Head] = []
    at = _elements(data, heads)
    found: dict[int, Head] = {}
    position, end = 0, len(data)
    while position < end:
        tag, length, start, inner = at(position, encoding)
        if tag > _LAST:
            layouts.learn(encoding, data, heads, found)
            break
        if tag < _FIRST_OF_A_DATA_SET:
            raise InstanceRefused("the data set begins with no element of a data set", CANNOT_UNDERSTAND)
        if length == _UNDEFINED:
            position = _end_of_sequence(at, start, inner, 1)
            continue
        position = start + length
        if tag in _WANTED and length <= _MAX_VALUE_BYTES:
            if position > end:
                raise _NeedMore
            found[tag] = start, position
    else:
        if position > end or not is_whole:
            raise _NeedMore
    return {tag: data[start:position] for tag, (start, position) in found.items()}


_At = Callable[[int, _Encoding], tuple[int, int, int, _Encoding]]
"""(position, encoding) -> tag, length of the value, where it starts, and how elements inside it are encoded."""


def _elements(data: bytes, heads: list[Head]) -> _At:
    """Return what reads the element at a position and adds its head; it refuses more of them than any header has.

    A function that holds its names, because it runs for every element of a header that is walked.
    """

    def at(position: int, encoding: _Encoding) -> tuple[int, int, int, _Encoding]:
        # A few kilobytes, deflated, may hold millions of empty elements.
        if len(heads) >= _MAX_ELEMENTS:
            raise InstanceRefused("the header of the data set has too many elements", CANNOT_UNDERSTAND)
        try:
            group, element, vr, length = encoding.tag_and_short(data, position)
            tag = group << 16 | element
            start, inner = position + 8, encoding
            if encoding.implicit or group == 0xFFFE:
                length = encoding.long(data, position + 4)[0]
            elif vr in _LONG_VRS:
                length = encoding.long(data, start)[0]
                start += 4
                # PS3.5 section 6.2.2: what lies inside a UN of undefined length is implicit VR little endian.
                inner = _IMPLICIT if vr == b"UN" else encoding
            elif vr not in _SHORT_VRS:
                raise InstanceRefused("an element of the data set has no valid VR", CANNOT_UNDERSTAND)
        except struct.error:
            raise _NeedMore from None
        heads.append((position, start))
        return tag, length, start, inner

    return at


def _end_of_sequence(at: _At, position: int, encoding: _Encoding, depth: int) -> int:
    """Skip items up to the sequence delimitation item (PS3.5 7.5); return what follows it."""
    if depth > _MAX_DEPTH:
        raise InstanceRefused("the sequences of the data set are nested too deep", CANNOT_UNDERSTAND)
    while True:
        tag, length, position, _ = at(position, encoding)
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise InstanceRefused("a sequence of the data set holds no items", CANNOT_UNDERSTAND)
        position = _end_of_item(at, position, encoding, depth) if length == _UNDEFINED else position + length


def _end_of_item(at: _At, position: int, encoding: _Encoding, depth: int) -> int:
    while True:
        tag, length, position, inner = at(position, encoding)
        if tag == _ITEM_END:
            return position
        if length == _UNDEFINED:
            position = _end_of_sequence(at, position, inner, depth + 1)
        else:
            position += length
