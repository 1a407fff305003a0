"""Finds what a file carries beside its header and its pixels: texts in compressed pixel data, or after native ones.

Comes from the leak check with a copy; goes back to it as bytes that are searched. Never decodes pixels.
"""

import math
import mmap
import struct

from pydicom.dataset import Dataset

from covnode.deidentify.unconverted import Header

_ITEM = (0xFFFE, 0xE000)
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f"  # also JPEG-LS; ISO/IEC 10918-1 B.1.1.3, 15444-1 A.2
_COMMENT, _APPLICATION = 0xFE, range(0xE0, 0xF0)
_COMMENT_2000 = 0x64
_START_OF_SCAN, _START_OF_TILE = 0xDA, 0x90
_UNDEFINED_LENGTH = 0xFFFFFFFF
_SIZES, _NUMBER_OF_FRAMES = (0x00280010, 0x00280011, 0x00280002, 0x00280100), 0x00280008
_LONG_PIXEL_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"UN"})


def beside_pixels(content: mmap.mmap, header: Header) -> bytes:
    """Bytes in or after Pixel Data that are no pixels: comments in compressed ones, for example.

    Parameters
    ----------
    content
        A file.
    header
        What was read of it.
    """
    pixels = content[header.stop : header.stop + 12]
    if not pixels:
        return b""
    implicit, little = header.dataset.original_encoding
    order = "<" if little else ">"
    start = header.stop + (8 if implicit or pixels[4:6] not in _LONG_PIXEL_VRS else 12)
    length = struct.unpack_from(f"{order}L", pixels, start - header.stop - 4)[0]
    if length != _UNDEFINED_LENGTH:
        return content[start + min(length, _pixel_bytes(header.dataset, order)) :]
    if content[-8:] == struct.pack(f"{order}HHL", 0xFFFE, 0xE0DD, 0):
        return _texts_beside_pixels(content, start, order)
    return content[start:]


def _pixel_bytes(dataset: Dataset, order: str) -> int:
    """Bytes that native pixels need (PS3.5 section 8.1.1); 0 when their attributes do not say.

    Reads their bytes: what pydicom has converted is no longer there to be judged as it was sent.
    """
    found = [dataset.get_item(tag, keep_deferred=True) for tag in (*_SIZES, _NUMBER_OF_FRAMES)]
    *sizes, frames = ((element.value if element else None) or b"" for element in found)
    try:
        bits: int = math.prod(struct.unpack(f"{order}H", size)[0] for size in sizes)
        return (bits * int(frames.strip(b" \0") or 1) + 7) // 8
    except (TypeError, ValueError, struct.error):
        return 0


def _texts_beside_pixels(content: mmap.mmap, start: int, order: str) -> bytes:
    """Join the comments and application data in the fragments that begin at an offset; ``order`` is "<" or ">"."""
    texts, position = [], start
    while position + 8 <= len(content):
        group, number, length = struct.unpack_from(f"{order}HHL", content, position)
        if (group, number) != _ITEM or length == _UNDEFINED_LENGTH:
            break
        texts += _segments(content, position + 8, position + 8 + length)
        position += 8 + length
    return b"\0".join(texts)


def _segments(content: mmap.mmap, start: int, stop: int) -> list[bytes]:
    """Marker segments of one fragment that hold texts; those before the first scan or tile."""
    found: list[bytes] = []
    kind = content[start : start + 2]
    if kind not in {_JPEG, _JPEG_2000}:
        return found
    wanted = {_COMMENT_2000} if kind == _JPEG_2000 else {_COMMENT, *_APPLICATION}
    last = _START_OF_TILE if kind == _JPEG_2000 else _START_OF_SCAN
    position = start + 2
    while position + 4 <= min(stop, len(content)):
        mark, marker, length = struct.unpack_from(">BBH", content, position)
        if mark != 0xFF or marker == last or length < 2:
            break
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in wanted:
            found.append(content[position + 4 : min(position + 2 + length, stop)])
        position += 2 + length
    return found
