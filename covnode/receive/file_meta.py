"""What announces an instance, and the head of the file that it becomes.

Comes from the C-STORE command, or from a part of STOW-RS; goes to spool.
"""

import struct
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID

from covnode.receive.content import is_content_of

_PREAMBLE = bytes(128) + b"DICM"
_META_START = 128 + 4 + 8


class StoreCommand(NamedTuple):
    """What announces an instance: the C-STORE command, or the file meta information of a part of STOW-RS.

    Attributes
    ----------
    stat
        The sender asks for haste (Priority HIGH, PS3.7 C-STORE).
    study_instance_uid
        The study that the instance must belong to (named by the URL of STOW-RS); None: any.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    stat: bool = False
    study_instance_uid: str | None = None


def part10_head(command: StoreCommand) -> bytes:
    """Return what stands before the data set in a file: preamble and file meta information (PS3.10 section 7.1)."""
    elements = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _meta_element(0x0002, b"UI", command.sop_class_uid),
            _meta_element(0x0003, b"UI", command.sop_instance_uid),
            _meta_element(0x0010, b"UI", command.transfer_syntax_uid),
            _meta_element(0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID),
            _meta_element(0x0016, b"AE", command.source_ae_title),
        )
    )
    return _PREAMBLE + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


@lru_cache(256)
def _meta_element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def is_whole(path: Path) -> bool:
    """Whether the data set of a durable file is the one that the file is named for; reads all of it.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(start_of_data_set(file))
        return is_content_of(path.stem, file)


def start_of_data_set(file: BufferedReader) -> int:
    """Return where the data set of a Part 10 file begins."""
    file.seek(_META_START)
    return _META_START + 4 + int.from_bytes(file.read(4), "little")
