"""An association that the node opens itself: results to a peer, reports of commitment, questions, retrievals.

Called by deliver and by receive, each with its own presentation contexts; goes to one peer. It moves no object.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from covnode.errors import DeliveryRefused, PeerAway

REJECTED = "association_rejected"
"""Code of the refusal by a peer that rejects the association for good."""

_REJECTED_PERMANENT = 0x01
_LONGEST_PDU_BYTES = 1 << 18

Handlers = Sequence[tuple[evt.EventType, Callable[[evt.Event], Any]]]


@dataclass(frozen=True)
class Destination:
    """Another AE, and how long its answers are awaited."""

    name: str
    ae_title: str
    host: str
    port: int
    timeout_s: float


def associate(
    calling_ae_title: str,
    destination: Destination,
    contexts: Iterable[tuple[str, str | None]],
    *,
    as_scp: Iterable[str] = (),
    handlers: Handlers = (),
) -> Association:
    """Open an association; the caller releases it.

    Parameters
    ----------
    contexts
        (SOP class, transfer syntax) of each presentation context; no transfer syntax: the uncompressed ones.
    as_scp
        SOP classes of which this node is the SCP although it opens the association (PS3.7 D.3.3.4).
    handlers
        What answers the peer's own requests on it.

    Raises
    ------
    PeerAway
        The peer is not there, does not answer or rejects for the moment (PS3.8 Table 9-21, result 2).
    DeliveryRefused
        It rejects for good (result 1), or accepts none of the contexts.
    """
    entity = AE(ae_title=calling_ae_title)
    entity.acse_timeout = destination.timeout_s
    entity.dimse_timeout = destination.timeout_s
    entity.network_timeout = destination.timeout_s
    entity.connection_timeout = destination.timeout_s
    for sop_class, transfer_syntax in contexts:
        entity.add_requested_context(sop_class, transfer_syntax)
    roles = [build_role(sop_class, scu_role=False, scp_role=True) for sop_class in as_scp]
    try:
        association = entity.associate(
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            max_pdu=_LONGEST_PDU_BYTES,
            ext_neg=[*roles],
            evt_handlers=[*handlers],
        )
    except OSError:
        raise PeerAway(f"{destination.name}: the host {destination.host} cannot be found") from None
    if association.is_established:
        _return_stolen_answers(association)
        return association
    raise _why_not(association, destination)


def _return_stolen_answers(association: Association) -> None:
    """Let no answer get lost between the association's thread and the caller that waits for it.

    pynetdicom's thread pauses while a caller waits, but it may pass its own check just before and take an answer that
    comes at once, to drop it as unexpected: the caller would wait for its whole time-out, and send again.
    """
    serve = association._serve_request  # noqa: SLF001 (held by tests/contract)

    def serve_or_return(message: Any, context_id: int) -> None:  # noqa: ANN401 (any message of pynetdicom)
        if message.is_valid_request:
            serve(message, context_id)
        else:
            association.dimse.msg_queue.put((context_id, message))

    association._serve_request = serve_or_return  # type: ignore[method-assign, assignment]  # noqa: SLF001


def _why_not(association: Association, destination: Destination) -> PeerAway | DeliveryRefused:
    if association.is_rejected:
        answer = association.acceptor.primitive
        if answer is not None and answer.result == _REJECTED_PERMANENT:
            return DeliveryRefused(
                f"{destination.name} rejects the association for good (source {answer.result_source}, "
                f"reason {answer.diagnostic}): is this AE title allowed there?",
                code=REJECTED,
            )
        return PeerAway(f"{destination.name} rejects the association for the moment")
    if association.rejected_contexts:
        return DeliveryRefused(f"{destination.name} accepts none of the SOP classes", code="sop_class_not_accepted")
    return PeerAway(f"{destination.name} does not answer at {destination.host}:{destination.port}")
