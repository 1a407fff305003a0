"""A request of this node's own on an association that a peer has opened, such as a report of storage commitment.

Called by an errand of the association's own thread (``DoorAssociation.run_soon``), between two messages; the answer
goes back to it. It never aborts: a peer that does not answer may be about to release, and has the right to.
"""

import time

from pynetdicom.dimse_primitives import N_EVENT_REPORT

from covnode.receive.upper_layer import DoorAssociation


def answer_to(
    association: DoorAssociation, request: N_EVENT_REPORT, context_id: int, timeout_s: float
) -> N_EVENT_REPORT | None:
    """Send the request and return its answer; None: none came in time, or the peer ends the association.

    What the peer asks meanwhile is served. A release or an abort is left to the association's thread.
    """
    association.dimse.send_msg(request, context_id)
    deadline_s = time.monotonic() + timeout_s
    while association.is_established and association.dul.is_alive():
        association.news.clear()
        message_context_id, message = association.dimse.get_msg(block=False)
        if message is None or message_context_id is None:
            left_s = deadline_s - time.monotonic()
            if association.dul.peek_next_pdu() is not None or left_s <= 0 or not association.news.wait(left_s):
                break
        elif message.is_valid_request:
            association._serve_request(message, message_context_id)  # noqa: SLF001 (held by tests/contract)
        elif isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo == request.MessageID:
            association.news.set()  # there may be something behind it
            return message
    association.news.set()
    return None
