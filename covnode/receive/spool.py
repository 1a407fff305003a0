"""The spool: received bytes made durable before anybody is told that they were received.

Comes from the SCP and from STOW-RS, which write the data set of one instance as it arrives; goes to a folder of its
series, under the digest of its content. It never decodes pixels and never builds a path from a UID.

Durable means: the file has its final name, it is synced, and the folder that holds the name is synced, before Success.
The name is the digest of the content: what a power failure left torn is known by it.
"""

import contextlib
import hashlib
import itertools
import mmap
import os
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from covnode.dicom.dimse import DATA_SET_MISMATCH
from covnode.errors import InstanceRefused
from covnode.receive import header
from covnode.receive.file_meta import StoreCommand, is_whole, part10_head
from covnode.receive.instance_facts import patient_words, slice_facts, uid
from covnode.receive.writeback import start_writing
from covnode.records.arrival import ArrivedInstance

_MOST_KNOWN = 10_000
_MOST_DRAFTS = 4
_NO_SERIES = frozenset({"incoming", "damaged", "commitments"})


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
        self._repeated = lru_cache(_MOST_KNOWN)(digest)
        self._process = os.getpid()
        self._numbers = itertools.count(1)
        self._known: set[str] = set()
        self._drafts: deque[tuple[str, int]] = deque()

    def begin(self, command: StoreCommand) -> "IncomingFile":
        """Open a file for an instance.

        Raises
        ------
        OSError
            There is no room.
        """
        return IncomingFile(self, command)

    def series_digest(self, values: dict[int, bytes]) -> str:
        """Return the keyed digest of the series, which names its folder.

        Raises
        ------
        InstanceRefused
            0xC000: a UID is missing or is none.
        """
        study = uid(values, header.STUDY_INSTANCE_UID, "StudyInstanceUID")
        return self._repeated(study, uid(values, header.SERIES_INSTANCE_UID, "SeriesInstanceUID"))

    def arrived(
        self, values: dict[int, bytes], command: StoreCommand, content_sha256: str, size_bytes: int, file_name: str
    ) -> ArrivedInstance:
        """Return what the database is to know of an instance that is durable; InstanceRefused as `series_digest`."""
        return ArrivedInstance(
            study_digest=self._repeated("study", uid(values, header.STUDY_INSTANCE_UID, "StudyInstanceUID")),
            series_digest=self.series_digest(values),
            sop_digest=self._digest(uid(values, header.SOP_INSTANCE_UID, "SOPInstanceUID")),
            patient_digest=self._repeated("patient", *patient_words(values)),
            sop_class_uid=uid(values, header.SOP_CLASS_UID, "SOPClassUID"),
            transfer_syntax_uid=command.transfer_syntax_uid,
            content_sha256=content_sha256,
            size_bytes=size_bytes,
            file_name=file_name,
            source_ae_title=command.source_ae_title,
            facts=slice_facts(values, stat=command.stat),
        )

    def draft(self) -> tuple[str, int]:
        """Return a new file and its descriptor, made ahead where there was time.

        Raises
        ------
        OSError
            There is no room.
        """
        try:
            return self._drafts.popleft()
        except IndexError:
            return self._new_draft()

    def prepare(self) -> None:
        """Make a file for the next instance, while its sender gets it ready."""
        if len(self._drafts) < _MOST_DRAFTS:
            with contextlib.suppress(OSError):
                self._drafts.append(self._new_draft())

    def tidy(self) -> None:
        """Give back what was prepared and is not needed now."""
        with contextlib.suppress(IndexError):
            while True:
                path, descriptor = self._drafts.popleft()
                os.close(descriptor)
                _unlink(path)

    def _new_draft(self) -> tuple[str, int]:
        path = f"{self._incoming}/{self._process}-{next(self._numbers)}"
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def folder_of(self, series_digest: str) -> str:
        """Return the folder of a series; its name is durable."""
        folder = f"{self._folder}/{series_digest}"
        if series_digest not in self._known:
            Path(folder).mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._folder)
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known.add(series_digest)
        return folder


class IncomingFile:
    """An instance that is arriving; `keep` makes it durable, and `close` ends it in any case."""

    def __init__(self, spool: Spool, command: StoreCommand) -> None:
        self._spool = spool
        self._command = command
        self._written = 0
        self._values: dict[int, bytes] | None = None
        self._path, self._descriptor = spool.draft()
        meta = part10_head(command)
        self._start = len(meta)
        try:
            _write_all(self._descriptor, meta)
        except OSError:
            self.close()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes of the data set, in order.

        Raises
        ------
        OSError
            There is no room.
        """
        _write_all(self._descriptor, data)
        before, self._written = self._written, self._written + len(data)
        if before < header.FIRST_READ_BYTES <= self._written:
            # While the rest is still on its way: then it does not stand between the last byte and the answer.
            with contextlib.suppress(_NotYet, InstanceRefused):
                self._values = self._scan(limit=self._written)

    def keep(self) -> ArrivedInstance:
        """Make the instance durable; `close` may wait until its sender is answered.

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
        series = self._spool.series_digest(values)
        start_writing(self._descriptor)
        content = self._content_sha256()
        size_bytes = self._place(self._spool.folder_of(series), f"{content}.dcm")
        return self._spool.arrived(values, command, content, size_bytes, f"{series}/{content}.dcm")

    def _content_sha256(self) -> str:
        # Read back from memory, while the disk writes.
        with mmap.mmap(self._descriptor, 0, prot=mmap.PROT_READ) as content, memoryview(content) as view:
            return hashlib.sha256(view[self._start :]).hexdigest()

    def _place(self, folder: str, name: str) -> int:
        """Give the file its final name, make both durable, and return how long the file of that name is.

        The name comes before the sync: then the file system commits both at once, and the folder has nothing left.
        """
        final = f"{folder}/{name}"
        try:
            os.link(self._path, final)
        except FileExistsError:
            return self._stays(Path(final))
        try:
            os.fsync(self._descriptor)
            sync_folder(folder)
        except OSError:
            _unlink(final)
            raise
        return self._start + self._written

    def _stays(self, final: Path) -> int:
        """Leave the file that is there: one name stands for one content, whoever sent it first."""
        if not is_whole(final):
            # Named when the power failed, before its sync: nobody was told of it.
            Path(self._path).replace(final)
        with final.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(final.parent)
        return final.stat().st_size

    def _scan(self, limit: int | None = None) -> dict[int, bytes]:
        def first(count: int) -> bytes:
            if limit is not None and count > limit:
                raise _NotYet
            return os.pread(self._descriptor, count, self._start)

        return header.scan(first, self._command.transfer_syntax_uid)

    def close(self) -> None:
        """End it: what `keep` made durable stays, and of anything else nothing does."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            _unlink(self._path)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


def sync_folder(folder: Path | str) -> None:
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
