"""Finds the texts that compressed pixel data carry beside the pixels: comments and application data of JPEG's family.

Comes from the leak check with a copy; goes back to it as bytes that are searched. Never decodes pixels.
"""

import os
import struct
from typing import BinaryIO

_ITEM = (0xFFFE, 0xE000)
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f"  # also JPEG-LS; ISO/IEC 10918-1 B.1.1.3, 15444-1 A.2
_COMMENT, _APPLICATION = 0xFE, range(0xE0, 0xF0)
_COMMENT_2000 = 0x64
_START_OF_SCAN, _START_OF_TILE = 0xDA, 0x90
_UNDEFINED_LENGTH = 0xFFFFFFFF


def texts_beside_pixels(stream: BinaryIO, start: int, order: str) -> bytes:
    """Join the comments and application data in the fragments that begin at an offset.

    Parameters
    ----------
    order
        "<" or ">", the byte order of the items.
    """
    texts, position = [], start
    while True:
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8:
            break
        group, number, length = struct.unpack(f"{order}HHL", head)
        if (group, number) != _ITEM or length == _UNDEFINED_LENGTH:
            break
        position += 8 + length
        texts += _segments(stream, position)
    return b"\0".join(texts)


def _segments(stream: BinaryIO, stop: int) -> list[bytes]:
    """Marker segments of one fragment that hold texts; those before the first scan or tile."""
    found: list[bytes] = []
    kind = stream.read(2)
    if kind not in {_JPEG, _JPEG_2000}:
        return found
    wanted = {_COMMENT_2000} if kind == _JPEG_2000 else {_COMMENT, *_APPLICATION}
    last = _START_OF_TILE if kind == _JPEG_2000 else _START_OF_SCAN
    while stream.tell() + 4 <= stop:
        mark, marker, length = struct.unpack(">BBH", stream.read(4))
        if mark != 0xFF or marker == last or length < 2:
            break
        if marker == 0xFF:  # a fill byte
            stream.seek(-3, os.SEEK_CUR)
        elif marker in wanted:
            found.append(stream.read(min(length - 2, stop - stream.tell())))
        else:
            stream.seek(length - 2, os.SEEK_CUR)
    return found
