"""The spool: received bytes made durable before anybody is told that they were received.

Comes from the SCP and from STOW-RS, which write the data set of one instance as it arrives; goes to a folder of its
series, under the digest of its content. It never decodes pixels and never builds a path from a UID.

Durable means: the file has its final name, it is synced, and the folder that holds the name is synced, before Success.
The name is the digest of the content: what a power failure left torn is known by it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path

from covnode.dicom.dimse import DATA_SET_MISMATCH, PROCESSING_FAILURE
from covnode.disk import sync_folder
from covnode.errors import InstanceRefused
from covnode.receive import header
from covnode.receive.block_writer import BlockWriter, Buffers
from covnode.receive.content import KIND, ContentDigest, are_alike, digest_of, kind_of
from covnode.receive.drafts import Drafts, unlink_quietly
from covnode.receive.file_meta import StoreCommand, is_whole, part10_head, start_of_data_set
from covnode.receive.header_layout import Layouts
from covnode.receive.instance_facts import patient_words, slice_facts, uid
from covnode.records.arrival import ArrivedInstance

_MOST_KNOWN = 10_000
_OF_SERIES = (header.STUDY_INSTANCE_UID, header.SERIES_INSTANCE_UID, header.PATIENT_ID, header.PATIENT_NAME)
_NO_SERIES = frozenset({"incoming", "damaged", "commitments"})


@dataclass(frozen=True)
class _OfSeries:
    """What the instances of a series have in common."""

    study_uid: str
    study_digest: str
    series_digest: str
    patient_digest: str


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
        self.drafts = Drafts(incoming)
        self.layouts = Layouts()
        self.buffers = Buffers()
        self._folder = folder
        self._digest = digest
        self._of_series = lru_cache(_MOST_KNOWN)(self._read_series)
        # Folders whose names are durable, and the kind of checksum that their files are named by.
        self._known: dict[str, str] = {}

    def begin(self, command: StoreCommand) -> "IncomingFile":
        """Open a file for an instance.

        Raises
        ------
        OSError
            There is no room.
        """
        return IncomingFile(self, command)

    def of_series(self, values: dict[int, bytes]) -> _OfSeries:
        """Return what the header says of the series.

        Raises
        ------
        InstanceRefused
            0xC000: a UID is missing or is none.
        """
        return self._of_series(tuple(map(values.get, _OF_SERIES)))

    def _read_series(self, raw: tuple[bytes | None, ...]) -> _OfSeries:
        values = {tag: value for tag, value in zip(_OF_SERIES, raw, strict=True) if value is not None}
        study = uid(values, header.STUDY_INSTANCE_UID, "StudyInstanceUID")
        return _OfSeries(
            study_uid=study,
            study_digest=self._digest("study", study),
            series_digest=self._digest(study, uid(values, header.SERIES_INSTANCE_UID, "SeriesInstanceUID")),
            patient_digest=self._digest("patient", *patient_words(values)),
        )

    def arrived(
        self, values: dict[int, bytes], command: StoreCommand, content_digest: str, size_bytes: int, file_name: str
    ) -> ArrivedInstance:
        """Return what the database is to know of an instance that is durable; InstanceRefused as `of_series`."""
        of_series = self.of_series(values)
        return ArrivedInstance(
            study_digest=of_series.study_digest,
            series_digest=of_series.series_digest,
            sop_digest=self._digest(command.sop_instance_uid),
            patient_digest=of_series.patient_digest,
            sop_class_uid=command.sop_class_uid,
            transfer_syntax_uid=command.transfer_syntax_uid,
            content_digest=content_digest,
            size_bytes=size_bytes,
            file_name=file_name,
            source_ae_title=command.source_ae_title,
            facts=slice_facts(values, stat=command.stat),
        )

    def folder_of(self, series_digest: str) -> tuple[str, str]:
        """Return the folder of a series, whose name is durable, and the kind of checksum that names its files."""
        folder = f"{self._folder}/{series_digest}"
        kind = self._known.get(series_digest)
        if kind is None:
            Path(folder).mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._folder)
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            kind = self._known[series_digest] = kind_of(_instance_names(folder))
        return folder, kind

    def forget_folder(self, series_digest: str) -> None:
        """Look anew whether the folder of a series is there."""
        self._known.pop(series_digest, None)


class IncomingFile:
    """An instance that is arriving; `keep` makes it durable, and `close` ends it in any case."""

    def __init__(self, spool: Spool, command: StoreCommand) -> None:
        self._spool = spool
        self._command = command
        self._content = ContentDigest()
        self._path, self._descriptor = spool.drafts.take()
        self._writer = BlockWriter(self._descriptor, spool.buffers)
        head = part10_head(command)
        self._start = self._size_bytes = len(head)
        self._writer.room()[: len(head)] = head
        self._writer.took(len(head))

    def room(self) -> memoryview:
        """Return memory, never empty, for the next bytes of the data set; `took` says how many were put there."""
        return self._writer.room()

    def took(self, count: int) -> None:
        """Take the first ``count`` bytes of `room`.

        Raises
        ------
        OSError
            There is no room on the disk.
        """
        self._content.update(self._writer.room()[:count])
        self._writer.took(count)
        self._size_bytes += count

    def write(self, data: memoryview) -> None:
        """Append bytes of the data set that lie elsewhere; OSError as `took`."""
        while data:
            room = self.room()
            count = min(len(room), len(data))
            room[:count] = data[:count]
            self.took(count)
            data = data[count:]

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
        self._writer.finish()
        values = header.scan(self._first, command.transfer_syntax_uid, self._spool.layouts)
        sop_class = uid(values, header.SOP_CLASS_UID, "SOPClassUID")
        sop_instance = uid(values, header.SOP_INSTANCE_UID, "SOPInstanceUID")
        if (sop_class, sop_instance) != (command.sop_class_uid, command.sop_instance_uid):
            raise InstanceRefused("the data set is not the instance that was announced", DATA_SET_MISMATCH)
        of_series = self._spool.of_series(values)
        if command.study_instance_uid not in {None, of_series.study_uid}:
            raise InstanceRefused("the instance is not of the study that was announced", DATA_SET_MISMATCH)
        folder, kind = self._spool.folder_of(of_series.series_digest)
        content = self._content.name()
        if kind != KIND:
            # An older release began the series: a sender that repeats itself is known by the name of its first time.
            with self._data_set() as file:
                content = digest_of(file, kind)
        try:
            size_bytes = self._place(folder, f"{content}.dcm")
        except FileNotFoundError:
            # Retention has removed the folder with the last of its files, or the file while it was being looked at.
            self._spool.forget_folder(of_series.series_digest)
            folder, _ = self._spool.folder_of(of_series.series_digest)
            size_bytes = self._place(folder, f"{content}.dcm")
        return self._spool.arrived(values, command, content, size_bytes, f"{of_series.series_digest}/{content}.dcm")

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
            unlink_quietly(final)
            raise
        return self._size_bytes

    def _stays(self, final: Path) -> int:
        """Leave the file that is there, if it holds the same: whoever sent it first, it is what arrived."""
        with final.open("rb") as file, self._data_set() as mine:
            file.seek(start_of_data_set(file))
            is_same = are_alike(file, mine)
        if not is_same:
            if is_whole(final):
                raise InstanceRefused("another content has the same checksum", PROCESSING_FAILURE)
            # Named when the power failed, before its sync: nobody was told of it.
            Path(self._path).replace(final)
        with final.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(final.parent)
        # The last thing, and by name: retention moves a file aside before it removes it, and puts a young one back.
        os.utime(final)
        return final.stat().st_size

    def _data_set(self) -> BufferedReader:
        file = os.fdopen(self._descriptor, "rb", closefd=False)
        file.seek(self._start)
        return file

    def _first(self, count: int) -> bytes:
        return self._writer.read(self._start, self._start + count)

    def close(self) -> None:
        """End it: what `keep` made durable stays, and of anything else nothing does."""
        if self._descriptor >= 0:
            self._writer.close()
            os.close(self._descriptor)
            self._descriptor = -1
            unlink_quietly(self._path)


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
    return [f"{series}/{name}" for name in sorted(_instance_names(folder / series))]


def _instance_names(folder: Path | str) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if path.suffix == ".dcm"]
