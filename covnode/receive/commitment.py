"""Storage Commitment Push Model SCP (PS3.4 Annex J): takes the request, and keeps it before it says so.

Comes from the front door, as N-ACTION; goes to a file of the spool's folder of commitment requests, where the
receiver's wiring finds it, looks what is durable and has receive.commitment_report give the report. It looks at no
instance itself.
"""

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary, WeakSet

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_ACTION

from covnode.dicom.dimse import PROCESSING_FAILURE, SUCCESS
from covnode.disk import sync_folder
from covnode.errors import CommitmentRefused, CovnodeError
from covnode.logs import get_logger
from covnode.receive.commitment_report import (
    INSTANCE,
    NotAnsweredError,
    Reference,
    deliver_on_same,
    read_report,
    report_file,
)
from covnode.receive.drafts import Drafts, unlink_quietly
from covnode.receive.instance_facts import is_uid
from covnode.receive.upper_layer import DoorAssociation
from covnode.records.arrival import CommitmentAsked

# Statuses of N-ACTION, PS3.7 10.1.4.1.10.
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_ARGUMENT = 0x0114
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213

_REQUEST_STORAGE_COMMITMENT = 1
_QUIET_S = 0.75
_MOST_WAITING = 10_000
_MOST_WAITING_OF_ONE_AE = 1_000
REQUEST_SUFFIX = ".json"


@dataclass(frozen=True)
class CommitmentRequest:
    """One request, as its file holds it (original UIDs inside).

    Attributes
    ----------
    association_id
        The association that it came on; it is gone after a restart.
    asked_at_s
        Unix time of the N-ACTION.
    """

    calling_ae_title: str
    association_id: str
    asked_at_s: float
    transaction_uid: str
    references: tuple[Reference, ...]


def references_of(action_type: int | None, requested_instance: str, information: Dataset) -> tuple[Reference, ...]:
    """Return what the N-ACTION wants to be committed.

    Raises
    ------
    CommitmentRefused
        It asks for another action or instance, or an argument is absent or no UID.
    """
    if requested_instance != INSTANCE:
        raise CommitmentRefused("it names another instance than the well-known one", NO_SUCH_INSTANCE)
    if action_type != _REQUEST_STORAGE_COMMITMENT:
        raise CommitmentRefused("it asks for another action than storage commitment", NO_SUCH_ACTION)
    for keyword in ("TransactionUID", "ReferencedSOPSequence"):
        if keyword not in information:
            raise CommitmentRefused(f"it has no {keyword}", NO_SUCH_ARGUMENT)
    references = tuple(
        Reference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in information.ReferencedSOPSequence
    )
    uids = [str(information.TransactionUID), *(uid for item in references for uid in (item.sop_class_uid, item.uid))]
    if not references or not all(is_uid(uid) for uid in uids):
        raise CommitmentRefused("it refers to nothing, or by something that is no UID", INVALID_ARGUMENT)
    return references


def keep_request(request: CommitmentRequest, folder: Path, drafts: Drafts) -> str:
    """Make the request durable and return its file's name, which is our id of it; the name appears with all of it.

    Raises
    ------
    OSError
        The disk is full or broken: nothing is kept.
    """
    name = f"{_prefix(request.calling_ae_title)}{secrets.token_hex(6)}{REQUEST_SUFFIX}"
    draft, descriptor = drafts.take()
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(asdict(request), file)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).rename(folder / name)
        sync_folder(folder)
    except OSError:
        for path in (draft, folder / name):
            unlink_quietly(path)
        raise
    return name


def read_request(path: Path) -> CommitmentRequest:
    """Read what ``keep_request`` wrote.

    Raises
    ------
    ValueError
        It is no request: its write was cut short, so that nobody was told that it was taken.
    FileNotFoundError
        Its report has been given.
    """
    try:
        values = json.loads(path.read_bytes())
        references = tuple(Reference(**item) for item in values.pop("references"))
        return CommitmentRequest(**values, references=references)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a request for storage commitment") from error


class CommitmentScp:
    """The door's part: bind ``on_action`` to ``evt.EVT_N_ACTION``, add the context StorageCommitmentPushModel.

    Parameters
    ----------
    folder
        The spool's folder of commitment requests.
    drafts
        Where a request is written before it gets its name.
    tell
        Passes a message to the receiver process.
    association_id
        Our id of an association, as in the door's other messages.
    closed_because
        The gate: why nothing is taken at present, or None.
    """

    def __init__(
        self,
        folder: Path,
        drafts: Drafts,
        tell: Callable[[CommitmentAsked], None],
        association_id: Callable[[object], str],
        closed_because: Callable[[], str | None],
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._drafts = drafts
        self._tell = tell
        self._association_id = association_id
        self._closed_because = closed_because
        self._reporting: set[str] = set()
        self._reported_at_s: WeakKeyDictionary[DoorAssociation, float] = WeakKeyDictionary()
        self._without_answer: WeakSet[DoorAssociation] = WeakSet()
        self._lock = threading.Lock()
        self._log = get_logger()

    def on_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Keep the request of an N-ACTION and return its status; Success only once its file is durable."""
        association_id = self._association_id(event.assoc)
        try:
            self._tell(CommitmentAsked(association_id, self._keep(event, association_id)))
        except CommitmentRefused as refusal:
            self._log.warning("commitment_refused", status=f"{refusal.status:04X}", reason=str(refusal))
            return refusal.status, None
        except OSError as error:
            self._log.error("commitment_not_kept", status=f"{RESOURCE_LIMITATION:04X}", error=type(error).__name__)
            return RESOURCE_LIMITATION, None
        except Exception as error:  # noqa: BLE001 (the edge: an error here must become a status, never Success)
            self._log.error("commitment_failed", status=f"{PROCESSING_FAILURE:04X}", error=type(error).__name__)
            return PROCESSING_FAILURE, None
        return SUCCESS, None

    def report_on_same(self, association: DoorAssociation, file_name: str) -> bool:
        """Give the report of a request on the association that it came on; return whether that is done.

        For a calling AE title that is no peer of the configuration: the receiver process asks the door for it by
        ``{"report": {"association_id": ..., "file_name": ...}}``, after it has put the verdict beside the request.
        With the answer Success both files are removed, which is how the receiver process sees that it is done.

        An errand of the association's own thread (``run_soon``), between two messages: the N-ACTION has been answered
        by then. It ends when the peer has answered, does not for long, or asks for the release.

        Returns False while the peer is not quiet: who is in the middle of sending (C-STORE, the next N-ACTION) mostly
        takes the next message for the answer to its own, and would break off. A peer that has left one report without
        an answer gets no other on this association (PS3.7 D.3.3.3: one operation at a time).
        """
        with self._lock:
            if file_name in self._reporting or association in self._without_answer or not self._is_quiet(association):
                return False
            self._reporting.add(file_name)
        try:
            return self._report(association, self._folder / file_name)
        finally:
            with self._lock:
                self._reporting.discard(file_name)
                self._reported_at_s[association] = time.monotonic()

    def _is_quiet(self, association: DoorAssociation) -> bool:
        """Whether the peer has sent nothing for a while but its answer to the report before."""
        quiet_s = association.quiet_s
        return quiet_s >= _QUIET_S or time.monotonic() - quiet_s <= self._reported_at_s.get(association, 0.0)

    def _report(self, association: DoorAssociation, request: Path) -> bool:
        try:
            report = read_report(report_file(request))
            deliver_on_same(association, report)
        except FileNotFoundError:
            return True
        except (CovnodeError, OSError, ValueError) as error:
            if isinstance(error, NotAnsweredError):
                self._without_answer.add(association)
            reason = str(error) if isinstance(error, CovnodeError) else type(error).__name__
            self._log.warning("commitment_report_on_same_failed", request=request.stem, reason=reason)
            return False
        request.unlink(missing_ok=True)
        report_file(request).unlink(missing_ok=True)
        self._log.info(
            "commitment_reported",
            request=request.stem,
            stored=len(report.stored),
            failed=len(report.failed),
            way="same",
        )
        return True

    def _keep(self, event: evt.Event, association_id: str) -> str:
        reason = self._closed_because()
        if reason is not None:
            raise CommitmentRefused(reason, RESOURCE_LIMITATION)
        calling_ae_title = event.assoc.requestor.ae_title.strip()
        self._require_room(calling_ae_title)
        requested = cast("N_ACTION", event.request)
        information = event.action_information
        references = references_of(event.action_type, str(requested.RequestedSOPInstanceUID), information)
        request = CommitmentRequest(
            calling_ae_title=calling_ae_title,
            association_id=association_id,
            asked_at_s=time.time(),
            transaction_uid=str(information.TransactionUID),
            references=references,
        )
        return keep_request(request, self._folder, self._drafts)

    def _require_room(self, calling_ae_title: str) -> None:
        waiting = [path.name for path in self._folder.glob(f"*{REQUEST_SUFFIX}")]
        of_this_ae = sum(name.startswith(_prefix(calling_ae_title)) for name in waiting)
        if len(waiting) >= _MOST_WAITING or of_this_ae >= _MOST_WAITING_OF_ONE_AE:
            raise CommitmentRefused("too many requests wait for their report", RESOURCE_LIMITATION)


def _prefix(calling_ae_title: str) -> str:
    """Return how the names of an AE's requests begin, so that they are counted without being read."""
    return f"com-{hashlib.sha256(calling_ae_title.encode()).hexdigest()[:8]}-"
