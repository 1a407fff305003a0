"""The report of a storage commitment: N-EVENT-REPORT with what is committed and what is not, and why not.

Comes from the receiver's wiring, which has looked what is durable; goes to the AE that asked, on an association that
this node opens or on the one that the request came on. It decides nothing.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode

from covnode.dicom.association import Destination, associate
from covnode.dicom.dimse import STORAGE_COMMITMENT, SUCCESS
from covnode.errors import TransientError
from covnode.receive.own_request import answer_to
from covnode.receive.upper_layer import DoorAssociation

INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance of the Push Model (PS3.4 J.3.5)."""

NO_SUCH_OBJECT = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
"""Failure Reasons, PS3.3 C.14.1.1."""

_COMPLETE: Literal[1] = 1
_FAILURES_EXIST: Literal[2] = 2
# Waiting holds up nothing: what the peer asks or ends meanwhile is served.
_ANSWERED_WITHIN_S = 30.0


class NotAnsweredError(TransientError):
    """A report was sent on the association that asked for it, and no answer came."""


@dataclass(frozen=True)
class Reference:
    """One instance as a request names it."""

    sop_class_uid: str
    uid: str


@dataclass(frozen=True)
class Report:
    """What is committed, and what is not with its Failure Reason (original UIDs inside)."""

    transaction_uid: str
    stored: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]


def event_of(report: Report) -> tuple[Literal[1, 2], Dataset]:
    """Return Event Type ID and Event Information (PS3.4 Table J.3-2).

    The Referenced SOP Sequence is left out where nothing is committed: its items are required where it is present.
    """
    information = Dataset()
    information.TransactionUID = report.transaction_uid
    if report.stored:
        information.ReferencedSOPSequence = [_item(reference) for reference in report.stored]
    if not report.failed:
        return _COMPLETE, information
    information.FailedSOPSequence = [_item(reference) for reference, _reason in report.failed]
    for item, (_reference, reason) in zip(information.FailedSOPSequence, report.failed, strict=True):
        item.FailureReason = reason
    return _FAILURES_EXIST, information


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.uid
    return item


def deliver(association: Association, report: Report) -> None:
    """Give the report on an open association.

    Raises
    ------
    TransientError
        No answer came, or another than Success: the report has to be given again.
    """
    event_type, information = event_of(report)
    try:
        status, _reply = association.send_n_event_report(information, event_type, STORAGE_COMMITMENT, INSTANCE)
    except (RuntimeError, ValueError):
        # Not established any more, or without the context.
        raise TransientError("the association is closed or cannot carry the report") from None
    answer = status.get("Status")
    if answer != SUCCESS:
        said = "nothing" if answer is None else f"{answer:04X}"
        raise TransientError(f"the peer answers the report with {said}")


def deliver_on_same(association: DoorAssociation, report: Report) -> None:
    """Give the report on the association that the request came on, by an errand of its thread.

    Raises
    ------
    TransientError
        It cannot be given here, or the answer is another than Success.
    NotAnsweredError
        The peer gives no answer, so that nothing else can be asked of it on this association.
    """
    context = next((one for one in association.accepted_contexts if one.abstract_syntax == STORAGE_COMMITMENT), None)
    if context is None or context.context_id is None or not association.is_established:
        raise TransientError("the association is closed or cannot carry the report")
    event_type, information = event_of(report)
    syntax = context.transfer_syntax[0]
    request = N_EVENT_REPORT()
    request.MessageID = 1
    request.AffectedSOPClassUID = UID(STORAGE_COMMITMENT)
    request.AffectedSOPInstanceUID = UID(INSTANCE)
    request.EventTypeID = event_type
    encoded = encode(information, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    request.EventInformation = BytesIO(encoded or b"")
    answer = answer_to(association, request, context.context_id, _ANSWERED_WITHIN_S)
    if answer is None:
        raise NotAnsweredError("the peer does not answer the report")
    if answer.Status != SUCCESS:
        raise TransientError(f"the peer answers the report with {answer.Status or 0:04X}")


def deliver_to(calling_ae_title: str, destination: Destination, report: Report) -> None:
    """Give the report on an association of its own, as the SCP that this node is (PS3.4 J.3.3).

    Raises
    ------
    TransientError, DeliveryRefused
        The peer is away, rejects or does not answer with Success.
    """
    context = (STORAGE_COMMITMENT, None)
    association = associate(calling_ae_title, destination, [context], as_scp=[STORAGE_COMMITMENT])
    try:
        deliver(association, report)
    finally:
        if association.is_established:
            association.release()


def report_file(request: Path) -> Path:
    """Return where the report of a request lies for the door that has to give it."""
    return request.with_suffix(".report")


def write_report(path: Path, report: Report) -> None:
    """Write the report for the door; it is made anew whenever it is missing, so nothing is synced."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(report)), encoding="ascii")
    draft.chmod(0o600)
    draft.rename(path)


def read_report(path: Path) -> Report:
    """Read what ``write_report`` wrote."""
    values = json.loads(path.read_bytes())
    return Report(
        transaction_uid=values["transaction_uid"],
        stored=_references(values["stored"]),
        failed=tuple((Reference(**reference), reason) for reference, reason in values["failed"]),
    )


def _references(items: Iterable[dict[str, str]]) -> tuple[Reference, ...]:
    return tuple(Reference(**item) for item in items)
