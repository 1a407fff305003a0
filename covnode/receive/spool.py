"""The spool: received bytes made durable before anybody is told that they were received.

Comes from the SCP, which streams the data set of one C-STORE into a file of ``incoming``; goes to a folder of our own
series id, under the digest of its content. It never decodes pixels and never builds a path from a UID.
"""

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from covnode.dicom.dimse import CANNOT_UNDERSTAND, DATA_SET_MISMATCH
from covnode.dicom.reading import read_header
from covnode.errors import InstanceRefused, NotDicom

_IDENTIFYING = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_CHUNK_BYTES = 1 << 20
_UID_LENGTH = 64


@dataclass(frozen=True)
class IncomingInstance:
    """What the header of a received file says, as far as the front door needs it (identity inside)."""

    path: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    content_sha256: str
    size_bytes: int


def read_incoming(path: Path, sop_class_uid: str, sop_instance_uid: str) -> IncomingInstance:
    """Read the header of a received file and check it against the command that brought it.

    Raises
    ------
    InstanceRefused
        0xC000 (cannot understand) when it is no DICOM data set or lacks a UID; 0xA900 (data set does not match SOP
        class) when the command names another class or instance. PS3.4 Table B.2-1.
    """
    try:
        header = read_header(path, _IDENTIFYING)
    except NotDicom:
        raise InstanceRefused("the data set cannot be parsed", CANNOT_UNDERSTAND) from None
    uids = {keyword: str(header.dataset.get(keyword) or "") for keyword in _IDENTIFYING}
    for keyword, uid in uids.items():
        if not uid or len(uid) > _UID_LENGTH or not set(uid) <= set("0123456789."):
            raise InstanceRefused(f"the data set has no valid {keyword}", CANNOT_UNDERSTAND)
    if uids["SOPClassUID"] != sop_class_uid or uids["SOPInstanceUID"] != sop_instance_uid:
        raise InstanceRefused("the data set is not the instance that the command names", DATA_SET_MISMATCH)
    digest, size_bytes = _digest_of_data_set(path)
    return IncomingInstance(
        path=path,
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        transfer_syntax_uid=header.transfer_syntax_uid,
        content_sha256=digest,
        size_bytes=size_bytes,
    )


def _digest_of_data_set(path: Path) -> tuple[str, int]:
    """Digest everything behind the file meta information: the bytes that came over the wire."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(128 + 4 + 8)
        group_length = int.from_bytes(file.read(4), "little")
        file.seek(group_length, os.SEEK_CUR)
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
        return digest.hexdigest(), file.tell()


def make_durable(instance: IncomingInstance, folder: Path) -> str:
    """Move the file into ``folder`` and return its name, once file and folder are on disk.

    Raises
    ------
    OSError
        The disk is full or broken: nothing of the instance counts as received.
    """
    name = f"{instance.content_sha256}.dcm"
    if not instance.path.exists() and (folder / name).exists():
        return name  # moved by the try before this one
    new_folder = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with instance.path.open("rb") as file:
        os.fsync(file.fileno())
    instance.path.chmod(0o600)
    instance.path.rename(folder / name)
    sync_folder(folder)
    if new_folder:
        sync_folder(folder.parent)
    return name


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_incoming(folder: Path, untouched_s: float) -> None:
    """Remove what was being received when an association broke; nobody was told Success for it."""
    limit = time.time() - untouched_s
    for leftover in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime <= limit:
                leftover.unlink()
