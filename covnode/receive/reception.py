"""One instance on its way through a DICOM association: to the spool where it is wanted, drained where it is not.

Comes from p_data, fragment by fragment; goes to the spool, to the receiver by ``tell``, and back as a status.
Success is only ever the status of what `IncomingFile.keep` made durable (PS3.4 Table B.2-1).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from covnode.dicom.dimse import (
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
)
from covnode.errors import InstanceRefused
from covnode.logs import get_logger
from covnode.receive.file_meta import StoreCommand
from covnode.receive.gate import Gate
from covnode.receive.spool import IncomingFile, Spool
from covnode.receive.store_commands import StoreRequest
from covnode.records.arrival import DoorMessage, Stored

Tell = Callable[[DoorMessage], None]

_DRAIN_BYTES = 1 << 16


@dataclass
class AssociationCounts:
    """What an association brought, for its summary in the log."""

    instances: int = 0
    size_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class StoreDesk:
    """What every reception of a process shares."""

    spool: Spool
    gate: Gate
    tell: Tell


class InstanceReception:
    """Takes one instance of a C-STORE; whatever happens ends in a status.

    Parameters
    ----------
    transfer_syntax_uid
        Of the presentation context; None where no context of that id holds the command's SOP class.
    """

    def __init__(
        self,
        desk: StoreDesk,
        association_id: str,
        counts: AssociationCounts,
        request: StoreRequest,
        transfer_syntax_uid: str | None,
        source_ae_title: str,
    ) -> None:
        self._desk = desk
        self._association_id = association_id
        self._counts = counts
        self._refusal: InstanceRefused | None = None
        self._file: IncomingFile | None = None
        self._drain: memoryview | None = None
        try:
            self._file = self._begin(request, transfer_syntax_uid, source_ae_title)
        except InstanceRefused as refusal:
            self._refusal = refusal
        except OSError as error:
            self._refusal = _no_room(error)

    def _begin(self, request: StoreRequest, transfer_syntax_uid: str | None, source: str) -> IncomingFile:
        if transfer_syntax_uid is None:
            raise InstanceRefused("the SOP class was not negotiated for this context", SOP_CLASS_NOT_SUPPORTED)
        if not (request.sop_class_uid and request.sop_instance_uid and request.has_data_set):
            raise InstanceRefused("the command names no instance or brings none", CANNOT_UNDERSTAND)
        closed = self._desk.gate.closed_because()
        if closed is not None:
            raise InstanceRefused(closed, OUT_OF_RESOURCES)
        return self._desk.spool.begin(
            StoreCommand(
                request.sop_class_uid, request.sop_instance_uid, transfer_syntax_uid, source, request.is_urgent
            )
        )

    def room(self) -> memoryview:
        """Return memory for the next bytes of the data set; after a failure the rest is drained."""
        if self._file is None:
            self._drain = self._drain or memoryview(bytearray(_DRAIN_BYTES))
            return self._drain
        return self._file.room()

    def took(self, count: int) -> None:
        """Take the first ``count`` bytes of `room`."""
        if self._file is None:
            return
        try:
            self._file.took(count)
        except OSError as error:
            self._refuse(_no_room(error))

    def end(self) -> tuple[int, str]:
        """Return the status and a comment, once the instance is durable or is not."""
        if self._file is not None:
            try:
                instance = self._file.keep()
                # Before the answer, so that whatever the sender does next comes after it.
                self._desk.tell(Stored(self._association_id, instance))
            except InstanceRefused as refusal:
                self._refuse(refusal)
            except OSError as error:
                self._refuse(_no_room(error))
            except Exception as error:  # noqa: BLE001 (the edge: an error here must become a status, never Success)
                self._refuse(InstanceRefused(f"it failed with {type(error).__name__}", PROCESSING_FAILURE))
            else:
                self._counts.instances += 1
                self._counts.size_bytes += instance.size_bytes
                return SUCCESS, ""
        return self._failure()

    def close(self) -> None:
        """Give the file back, and make the next one while the sender gets its instance ready."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if self._refusal is None:
                self._desk.spool.drafts.prepare()

    def _refuse(self, refusal: InstanceRefused) -> None:
        self._refusal = refusal
        self.close()

    def _failure(self) -> tuple[int, str]:
        refusal = self._refusal or InstanceRefused("nothing arrived", OUT_OF_RESOURCES)
        status = f"{refusal.status:04X}"
        if not self._counts.refused[status]:
            get_logger().warning(
                "instance_refused", association_id=self._association_id, status=status, reason=str(refusal)
            )
        self._counts.refused[status] += 1
        return refusal.status, str(refusal)


def _no_room(error: OSError) -> InstanceRefused:
    return InstanceRefused(f"the spool cannot be written: {error.strerror}", OUT_OF_RESOURCES)
