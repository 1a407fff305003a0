"""The spool: received bytes made durable before anybody is told that they were received.

Comes from the SCP and from STOW-RS, which write the data set of one instance as it arrives; goes to a folder of its
series, under the digest of its content. It never decodes pixels and never builds a path from a UID.

Durable means: the file is synced, gets its final name, and the folder that holds the name is synced, one after
the other and each before Success. A file under its final name is therefore whole, whenever the power fails.
"""

import contextlib
import hashlib
import itertools
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID

from covnode.dicom.dimse import DATA_SET_MISMATCH
from covnode.errors import InstanceRefused
from covnode.receive import header
from covnode.receive.instance_facts import patient_words, slice_facts, uid
from covnode.records.arrival import ArrivedInstance

_PREAMBLE = bytes(128) + b"DICM"
_MOST_KNOWN = 10_000
_NO_SERIES = frozenset({"incoming", "damaged", "commitments"})


@dataclass(frozen=True)
class StoreCommand:
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


class _NotYet(Exception):  # noqa: N818 (no error: the header is read at the end)
    """The header is longer than what has arrived."""


class Spool:
    """Makes instances durable; one for each process that receives.

    Parameters
    ----------
    folder
        Where durable instances lie, a folder a series.
    incoming
        On the same file system: what is not yet durable. Nobody was told Success for it.
    digest
        Keyed digest of strings.
    """

    def __init__(self, folder: Path, incoming: Path, digest: Callable[..., str]) -> None:
        self._folder = folder
        self._incoming = incoming
        self._digest = digest
        self._numbers = itertools.count(1)
        self._known: set[str] = set()

    def begin(self, command: StoreCommand) -> "IncomingFile":
        """Open a file for an instance.

        Raises
        ------
        OSError
            There is no room.
        """
        return IncomingFile(self, command, self._incoming / f"{os.getpid()}-{next(self._numbers)}")

    def digests(self, values: dict[int, bytes]) -> tuple[str, str, str, str]:
        """Return the keyed digests of study, series, instance and patient.

        Raises
        ------
        InstanceRefused
            0xC000: a UID is missing or is none.
        """
        study = uid(values, header.STUDY_INSTANCE_UID, "StudyInstanceUID")
        series = uid(values, header.SERIES_INSTANCE_UID, "SeriesInstanceUID")
        instance = uid(values, header.SOP_INSTANCE_UID, "SOPInstanceUID")
        return (
            self._digest("study", study),
            self._digest(study, series),
            self._digest(instance),
            self._digest("patient", *patient_words(values)),
        )

    def place(self, draft: Path, series_digest: str, name: str) -> str:
        """Give a synced file its final name and sync its folder; return the name, relative to the spool.

        A file that is there stays as it is: one name stands for one content, whoever sent it first.
        """
        folder = self._folder / series_digest
        if series_digest not in self._known:
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._folder)
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known.add(series_digest)
        with contextlib.suppress(FileExistsError):
            (folder / name).hardlink_to(draft)
        draft.unlink()
        sync_folder(folder)
        return f"{series_digest}/{name}"

    def size_bytes(self, name: str) -> int:
        """Return how long a file of the spool is."""
        return (self._folder / name).stat().st_size


class IncomingFile:
    """An instance that is arriving; `keep` or `drop` ends it."""

    def __init__(self, spool: Spool, command: StoreCommand, path: Path) -> None:
        self._spool = spool
        self._command = command
        self._path = path
        self._digest = hashlib.sha256()
        self._written = 0
        self._values: dict[int, bytes] | None = None
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        meta = _PREAMBLE + _file_meta(command)
        self._start = len(meta)
        try:
            _write_all(self._descriptor, meta)
        except OSError:
            self.drop()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes of the data set, in order.

        Raises
        ------
        OSError
            There is no room.
        """
        _write_all(self._descriptor, data)
        self._digest.update(data)
        before, self._written = self._written, self._written + len(data)
        if before < header.FIRST_READ_BYTES <= self._written:
            # While the rest is still on its way: then it does not stand between the last byte and the answer.
            with contextlib.suppress(_NotYet, InstanceRefused):
                self._values = self._scan(limit=self._written)

    def keep(self) -> ArrivedInstance:
        """Make the instance durable.

        Raises
        ------
        InstanceRefused
            0xC000 (cannot understand) when it is no data set or lacks a UID; 0xA900 (data set does not match SOP class)
            when the command named another class or instance. PS3.4 Table B.2-1.
        OSError
            The disk is full or broken: nothing of the instance counts as received.
        """
        command = self._command
        values = self._values or self._scan()
        sop_class = uid(values, header.SOP_CLASS_UID, "SOPClassUID")
        sop_instance = uid(values, header.SOP_INSTANCE_UID, "SOPInstanceUID")
        if (sop_class, sop_instance) != (command.sop_class_uid, command.sop_instance_uid):
            raise InstanceRefused("the data set is not the instance that was announced", DATA_SET_MISMATCH)
        if command.study_instance_uid not in {None, uid(values, header.STUDY_INSTANCE_UID, "StudyInstanceUID")}:
            raise InstanceRefused("the instance is not of the study that was announced", DATA_SET_MISMATCH)
        study, series, instance, patient = self._spool.digests(values)
        content = self._digest.hexdigest()
        os.fsync(self._descriptor)
        name = self._spool.place(self._path, series, f"{content}.dcm")
        self._close()
        return ArrivedInstance(
            study_digest=study,
            series_digest=series,
            sop_digest=instance,
            patient_digest=patient,
            sop_class_uid=sop_class,
            transfer_syntax_uid=command.transfer_syntax_uid,
            content_sha256=content,
            size_bytes=self._spool.size_bytes(name),
            file_name=name,
            source_ae_title=command.source_ae_title,
            facts=slice_facts(values, stat=command.stat),
        )

    def _scan(self, limit: int | None = None) -> dict[int, bytes]:
        def first(count: int) -> bytes:
            if limit is not None and count > limit:
                raise _NotYet
            return os.pread(self._descriptor, count, self._start)

        return header.scan(first, self._command.transfer_syntax_uid)

    def drop(self) -> None:
        """Forget the instance; what `keep` made durable stays."""
        if self._descriptor >= 0:
            self._close()
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def _file_meta(command: StoreCommand) -> bytes:
    """Return the file meta information (PS3.10 section 7.1), its group length first."""
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
    return struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


def _meta_element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_incoming(folder: Path, prefix: str = "") -> None:
    """Remove what was being received when a process broke off; nobody was told Success for it."""
    for leftover in folder.glob(f"{prefix}*"):
        with contextlib.suppress(FileNotFoundError):
            leftover.unlink()


def series_folders(folder: Path) -> list[str]:
    """Return the names of the folders that hold instances.

    Raises
    ------
    OSError
        The spool cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name not in _NO_SERIES and entry.is_dir())


def durable_files(folder: Path, series: str) -> list[str]:
    """Return the names, relative to the spool, of all instances of one of its folders.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    return [f"{series}/{path.name}" for path in sorted((folder / series).iterdir()) if path.suffix == ".dcm"]
