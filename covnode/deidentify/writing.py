"""Makes the de-identified copy of one file: a new header, and the pixel data as they came.

Comes from the engine with an original; goes back to it as bytes to write. Only where masking found text are pixels
written anew.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian

from covnode.deidentify.burned_in import Boxes
from covnode.deidentify.cleaning import Cleaner, joined
from covnode.deidentify.elements import (
    EXPLICIT_LITTLE,
    PIXEL_DATA,
    Element,
    Encoding,
    Part10,
    elements,
    encode,
    encode_item,
    open_part10,
    pixel_data_stop,
)
from covnode.deidentify.masking import masked_pixels
from covnode.deidentify.options import CLEAN_PIXELS, METHOD
from covnode.deidentify.originals import Original
from covnode.deidentify.profile import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Profile
from covnode.deidentify.syncing import Parts
from covnode.dicom.decoding import is_native

_SHARED_FUNCTIONAL_GROUPS = 0x52009229
_PIXEL_DATA, _BURNED_IN = 0x7FE00010, 0x00280301
_OF_COMPRESSED = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_SLICE_THICKNESS, _FRAME_OF_REFERENCE_UID = 0x00180050, 0x00200052
# Type 2 in the CT Image IOD, and what the writers of results ask for
_ALWAYS = (
    (0x00080020, "DA"),
    (0x00080030, "TM"),
    (0x00080050, "SH"),
    (0x00080090, "PN"),
    (0x00100030, "DA"),
    (0x00100040, "CS"),
    (0x00200010, "SH"),
)


@dataclass(frozen=True)
class Copy:
    """What one copy is made with.

    Attributes
    ----------
    cleaner
        The series' own, by the encoding of an instance.
    sop_instance_uid, frame_of_reference_uid
        Pseudonymous; the frame of reference stands in only where the original names none.
    patient_id
        Pseudonymous; also the family name.
    boxes
        What is masked in the pixels.
    """

    profile: Profile
    cleaner: Callable[[Encoding], Cleaner]
    sop_instance_uid: str
    frame_of_reference_uid: str
    patient_id: str
    boxes: Boxes = field(default_factory=dict)


def deidentified_copy(original: Original, copy: Copy) -> Parts:
    """Make the de-identified copy of one Part 10 file, in the same transfer syntax.

    One whose pixels are masked is not compressed any more.

    Raises
    ------
    DeidentificationRefused
        ``pixel_data_unreadable`` where they are to be masked.
    UnreadableError
        When the original cannot be read to the end of its Pixel Data.
    OSError
        When the original cannot be read.
    """
    opened, root = original.root or _opened(original.path)
    header, pixels = _split(opened, root)
    kept = copy.cleaner(opened.encoding).clean(opened.data, header, opened.encoding)
    sop_class_uid = _text(kept.get(0x00080016, b""))
    _complete(kept, copy, opened.encoding)
    transfer_syntax_uid = opened.transfer_syntax_uid
    masked = masked_pixels(original.path, copy.boxes, little_endian=opened.encoding.little) if copy.boxes else None
    if masked is not None:
        pixels = memoryview(encode(_PIXEL_DATA, *masked, opened.encoding))
        _say_masked(kept, copy, opened.encoding)
        if not is_native(transfer_syntax_uid):
            transfer_syntax_uid = ExplicitVRLittleEndian  # as the header of compressed images, PS3.5 section A.4
    data_set: Parts = (joined(kept), pixels)
    if opened.deflated:
        data_set = _deflated(data_set)
    meta = _file_meta(sop_class_uid, copy.sop_instance_uid, transfer_syntax_uid)
    return chain((bytes(128) + b"DICM" + meta,), data_set)


def _opened(path: Path) -> tuple[Part10, Iterable[Element]]:
    opened = open_part10(path)
    return opened, elements(opened.data, opened.start, len(opened.data), opened.encoding)


def _split(opened: Part10, root: Iterable[Element]) -> tuple[list[Element], memoryview]:
    """Elements before Pixel Data, and the bytes of the whole Pixel Data element; what follows it is dropped."""
    header: list[Element] = []
    for element in root:
        if element.tag in PIXEL_DATA:
            stop = pixel_data_stop(opened.data, element, opened.encoding)
            return header, memoryview(opened.data)[element.begin : stop]
        header.append(element)
    return header, memoryview(b"")


def _text(encoded: bytes) -> str:
    return encoded[8:].decode("ascii").rstrip("\0 ")


def _complete(kept: dict[int, bytes], copy: Copy, encoding: Encoding) -> None:
    """Set what identifies the copy, what says that it is one, and what every reader asks for."""

    def put(tag: int, vr: str, value: str) -> None:
        kept[tag] = encode(tag, vr, value.encode("ascii"), encoding)

    put(0x00080018, "UI", copy.sop_instance_uid)
    put(0x00100010, "PN", f"{copy.patient_id}^")
    put(0x00100020, "LO", copy.patient_id)
    for tag, vr in _ALWAYS:
        if tag not in kept:
            put(tag, vr, "")
    if len(kept.get(_FRAME_OF_REFERENCE_UID, b"")) <= 8:  # absent, or a header without a value
        put(_FRAME_OF_REFERENCE_UID, "UI", copy.frame_of_reference_uid)
    if _SLICE_THICKNESS not in kept and _SHARED_FUNCTIONAL_GROUPS not in kept:
        put(_SLICE_THICKNESS, "DS", "")
    put(0x00120062, "CS", "YES")
    put(0x00120063, "LO", METHOD)
    put(0x00280303, "CS", copy.profile.longitudinal_information)
    _put_codes(kept, copy.profile.method_codes, encoding)


def _say_masked(kept: dict[int, bytes], copy: Copy, encoding: Encoding) -> None:
    kept[_BURNED_IN] = encode(_BURNED_IN, "CS", b"NO", encoding)
    _put_codes(kept, sorted((*copy.profile.method_codes, CLEAN_PIXELS)), encoding)
    for tag in _OF_COMPRESSED:
        kept.pop(tag, None)


def _put_codes(kept: dict[int, bytes], method: Iterable[tuple[str, str]], encoding: Encoding) -> None:
    codes = b"".join(_code_item(value, meaning, encoding) for value, meaning in method)
    kept[0x00120064] = encode(0x00120064, "SQ", codes, encoding)


@cache
def _code_item(value: str, meaning: str, encoding: Encoding) -> bytes:
    return encode_item(
        encode(0x00080100, "SH", value.encode(), encoding)
        + encode(0x00080102, "SH", b"DCM", encoding)
        + encode(0x00080104, "LO", meaning.encode(), encoding),
        encoding,
    )


def _file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """File Meta Information (PS3.10 section 7.1), all our own."""
    content = b"".join(
        encode(tag, vr, value, EXPLICIT_LITTLE)
        for tag, vr, value in (
            (0x00020001, "OB", b"\0\1"),
            (0x00020002, "UI", sop_class_uid.encode()),
            (0x00020003, "UI", sop_instance_uid.encode()),
            (0x00020010, "UI", transfer_syntax_uid.encode()),
            (0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode()),
            (0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode()),
        )
    )
    return encode(0x00020000, "UL", len(content).to_bytes(4, "little"), EXPLICIT_LITTLE) + content


def _deflated(parts: Parts) -> Iterator[bytes]:
    """Deflate (RFC 1951), padded to an even length (PS3.5 section A.5)."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = b"".join([*map(compressor.compress, parts), compressor.flush()])
    yield content + bytes(len(content) % 2)
