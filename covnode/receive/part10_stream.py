"""Takes a Part 10 file (PS3.10 section 7.1) apart as it comes: preamble and file meta first, then the data set.

Comes from a part of a multipart body; tells what a C-STORE would have told. Only the head is held in memory, and no
pixel is looked at.
"""

from dataclasses import dataclass
from io import BytesIO

from pydicom.filereader import read_dataset

from covnode.dicom.dimse import CANNOT_UNDERSTAND
from covnode.dicom.reading import MALFORMED, quietly
from covnode.errors import InstanceRefused
from covnode.receive.instance_facts import is_uid

_PREAMBLE_BYTES = 128
_GROUP_LENGTH_END = _PREAMBLE_BYTES + 4 + 12
_GROUP_LENGTH_ELEMENT = b"DICM\x02\x00\x00\x00UL\x04\x00"
_MAX_META_BYTES = 1 << 16


@dataclass(frozen=True)
class FileMeta:
    """What the file meta information says of the data set that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class MetaReader:
    """Collects the head of a file until its meta information is whole."""

    def __init__(self) -> None:
        self._head = bytearray()

    def feed(self, data: memoryview) -> tuple[FileMeta, memoryview] | None:
        """Take the next bytes; return the meta and the first bytes of the data set once the meta is whole.

        Raises
        ------
        InstanceRefused
            0xC000: it is no Part 10 file.
        """
        before = len(self._head)
        wanted = self._wanted_bytes(before)
        taken = 0
        while taken < len(data):
            more = data[taken : taken + wanted - len(self._head)]
            self._head += more
            taken += len(more)
            if len(self._head) < wanted:
                return None
            if wanted > _GROUP_LENGTH_END or (wanted := self._wanted_bytes(len(self._head))) == len(self._head):
                return _parse_meta(bytes(self._head[_PREAMBLE_BYTES + 4 :])), data[taken:]
        return None

    def _wanted_bytes(self, have: int) -> int:
        if have < _GROUP_LENGTH_END:
            return _GROUP_LENGTH_END
        if self._head[_PREAMBLE_BYTES : _GROUP_LENGTH_END - 4] != _GROUP_LENGTH_ELEMENT:
            raise InstanceRefused("the part is no DICOM file", CANNOT_UNDERSTAND)
        meta_bytes = int.from_bytes(self._head[_GROUP_LENGTH_END - 4 : _GROUP_LENGTH_END], "little")
        if meta_bytes > _MAX_META_BYTES:
            raise InstanceRefused("the file meta information is too long", CANNOT_UNDERSTAND)
        return _GROUP_LENGTH_END + meta_bytes


def _parse_meta(elements: bytes) -> FileMeta:
    with quietly():
        try:
            meta = read_dataset(BytesIO(elements), is_implicit_VR=False, is_little_endian=True)
            uids = [
                str(meta.get(keyword) or "")
                for keyword in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
            ]
        except MALFORMED:
            raise InstanceRefused("the file meta information cannot be parsed", CANNOT_UNDERSTAND) from None
    if not all(is_uid(uid) for uid in uids):
        raise InstanceRefused("the file meta information lacks a UID", CANNOT_UNDERSTAND)
    return FileMeta(*uids)
