"""The instances of one STOW-RS request, made durable one after the other as their bytes come.

Comes from the request's body, in a worker thread; goes to the spool, and each durable instance to the receiver. What
breaks off is dropped; what was durable before stays, and is never answered as failed.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from covnode.dicom.dimse import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, PROCESSING_FAILURE, SOP_CLASS_NOT_SUPPORTED
from covnode.errors import InstanceRefused
from covnode.logs import get_logger
from covnode.receive.admission import ClosableGate
from covnode.receive.file_meta import StoreCommand
from covnode.receive.multipart_body import MultipartBody
from covnode.receive.part10_stream import FileMeta, MetaReader
from covnode.receive.spool import IncomingFile, Spool
from covnode.receive.stow_answer import Outcome
from covnode.records.arrival import DoorMessage, Ended, Stored

# A Failure Reason of PS3.18 Table I.2-2 alone.
TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122

_PART_TYPE = "application/dicom"
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True)
class TakenInstances:
    """Which instances are taken.

    Attributes
    ----------
    sop_classes
        Their SOP Class UIDs.
    transfer_syntaxes
        Their Transfer Syntax UIDs; empty: any.
    max_bytes
        Length of the data set.
    """

    sop_classes: frozenset[str]
    transfer_syntaxes: frozenset[str]
    max_bytes: int


@dataclass(frozen=True)
class UploadStage:
    """Where the instances of all requests go."""

    spool: Spool
    gate: ClosableGate
    tell: Callable[[DoorMessage], None]
    taken: TakenInstances


@dataclass(frozen=True)
class UploadSource:
    """Who sends, and what the URL says.

    Attributes
    ----------
    association_id
        Of this request alone.
    study_instance_uid
        The study that all instances must belong to; None: any.
    """

    association_id: str
    source_ae_title: str
    study_instance_uid: str | None = None


class Upload:
    """One request's instances. `feed` and `finish` block on the disk."""

    def __init__(self, stage: UploadStage, source: UploadSource, boundary: bytes) -> None:
        self.outcomes: list[Outcome] = []
        self.malformed = False
        self._stage = stage
        self._source = source
        self._body = MultipartBody(boundary, self)
        self._part: _Part | None = None
        self._closed = False
        # A request that is broken off from outside is closed while its last chunk may still be under way.
        self._lock = threading.Lock()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body; nothing behind a malformed byte counts."""
        with self._lock:
            if not (self.malformed or self._closed):
                self._guarded(lambda: self._body.feed(chunk))

    def finish(self) -> None:
        """Take the end of the body."""
        with self._lock:
            if not (self.malformed or self._closed):
                self._guarded(self._body.finish)

    def close(self, *, released: bool) -> None:
        """Drop what is not whole, and tell the receiver that no more comes."""
        with self._lock:
            self._closed = True
            if self._part is not None:
                self._part.drop()
            self._stage.tell(Ended(self._source.association_id, released=released))

    def begin(self, headers: dict[str, str]) -> None:
        """Open a part (for the parser)."""
        self._part = _Part(self._stage, self._source)
        media_type = headers.get("content-type", _PART_TYPE).partition(";")[0].strip().lower()
        encoding = headers.get("content-transfer-encoding", "").lower()
        if media_type != _PART_TYPE or encoding not in _PLAIN_ENCODINGS:
            self._part.refuse(InstanceRefused(f"the part is no plain {_PART_TYPE}", CANNOT_UNDERSTAND))

    def write(self, data: memoryview) -> None:
        """Take bytes of the open part (for the parser)."""
        if self._part is not None:
            self._part.write(data)

    def end(self) -> None:
        """Close the open part (for the parser)."""
        if self._part is not None:
            self.outcomes.append(self._part.end())
            self._part = None

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except InstanceRefused as refusal:
            self.malformed = True
            get_logger().warning("stow_body_malformed", association_id=self._source.association_id, reason=str(refusal))
            if self._part is None:
                self.outcomes.append(Outcome(failure=refusal.status))
            else:
                self._part.refuse(refusal)
                self.end()


class _Part:
    """One part, on its way into the spool. Whatever goes wrong becomes its outcome; it never raises."""

    def __init__(self, stage: UploadStage, source: UploadSource) -> None:
        self._stage = stage
        self._source = source
        self._meta_reader = MetaReader()
        self._meta: FileMeta | None = None
        self._file: IncomingFile | None = None
        self._bytes = 0
        self._failure: int | None = None
        self._too_large = False

    def write(self, data: memoryview) -> None:
        if self._failure is None:
            self._guarded(lambda: self._write(data))

    def end(self) -> Outcome:
        if self._failure is None:
            self._guarded(self._keep)
        meta = self._meta or FileMeta("", "", "")
        return Outcome(meta.sop_class_uid, meta.sop_instance_uid, self._failure, self._too_large)

    def drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def refuse(self, refusal: InstanceRefused) -> None:
        self._failure = refusal.status
        self.drop()

    def _guarded(self, step: Callable[[], None]) -> None:
        log = get_logger().bind(association_id=self._source.association_id)
        try:
            step()
        except InstanceRefused as refusal:
            log.warning("instance_refused", status=f"{refusal.status:04X}", reason=str(refusal))
            self.refuse(refusal)
        except OSError as error:
            log.error("instance_not_stored", status=f"{OUT_OF_RESOURCES:04X}", error=type(error).__name__)
            self.refuse(InstanceRefused("it cannot be written", OUT_OF_RESOURCES))
        except Exception as error:  # noqa: BLE001 (the edge: an error here must become a status, never Success)
            log.error("instance_failed", status=f"{PROCESSING_FAILURE:04X}", error=type(error).__name__)
            self.refuse(InstanceRefused("it failed", PROCESSING_FAILURE))

    def _write(self, data: memoryview) -> None:
        if self._file is None:
            found = self._meta_reader.feed(data)
            if found is None:
                return
            self._meta, data = found
            self._file = self._begin(self._meta)
        self._bytes += len(data)
        if self._bytes > self._stage.taken.max_bytes:
            self._too_large = True
            raise InstanceRefused("the instance is larger than stow.max_instance_mb", OUT_OF_RESOURCES)
        self._file.write(data)

    def _begin(self, meta: FileMeta) -> IncomingFile:
        taken = self._stage.taken
        if meta.sop_class_uid not in taken.sop_classes:
            raise InstanceRefused("the SOP class is not in receive.sop_classes", SOP_CLASS_NOT_SUPPORTED)
        if taken.transfer_syntaxes and meta.transfer_syntax_uid not in taken.transfer_syntaxes:
            raise InstanceRefused(
                "the transfer syntax is not in receive.transfer_syntaxes", TRANSFER_SYNTAX_NOT_SUPPORTED
            )
        if (closed := self._stage.gate.closed_because()) is not None:
            raise InstanceRefused(closed, OUT_OF_RESOURCES)
        command = StoreCommand(
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            source_ae_title=self._source.source_ae_title,
            study_instance_uid=self._source.study_instance_uid,
        )
        return self._stage.spool.begin(command)

    def _keep(self) -> None:
        if self._file is None:
            raise InstanceRefused("the part is no DICOM file", CANNOT_UNDERSTAND)
        instance = self._file.keep()
        self._stage.tell(Stored(self._source.association_id, instance))
        self.drop()
