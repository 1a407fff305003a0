"""Senders as they are on a bad day: what each sends well, how it breaks, and what must come back.

Every sender returns which instances were answered with Success, and what should not have happened.
"""

import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from dicom_instances import CT_IMAGE, SyntheticSeries
from dicom_sender import SUCCESS, Association, Ended, Message, Peer, Rejected, associate_request

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SILENT_TIMEOUT_S = 60.0


@dataclass
class Outcome:
    """What a sender saw."""

    answered: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def sound(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Send all, release."""
    outcome = Outcome()
    association = Association(peer)
    _send(association, series, range(count), outcome)
    association.release()
    return outcome


def aborts_within_a_pdu(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Close the connection in the middle of a PDU."""
    outcome, association = _half(peer, series, count)
    message = Message(association, series).of(count)
    association.send(message[: len(message) // 2])
    association.socket.close()
    return outcome


def resets_within_a_pdu(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Reset the connection in the middle of a PDU."""
    outcome, association = _half(peer, series, count)
    message = Message(association, series).of(count)
    association.send(message[: len(message) // 3])
    association.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    association.socket.close()
    return outcome


def aborts_between_pdus(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Send A-ABORT where the next PDU of a data set was due."""
    outcome, association = _half(peer, series, count)
    association.max_pdu_bytes = 4096
    message = association.encode(CT_IMAGE, series.uid(count), series.data_set(count))
    place = sent_pdus = 0
    while sent_pdus < 4:
        place += 6 + struct.unpack_from(">I", message, place + 2)[0]
        sent_pdus += 1
    association.send(message[:place])
    association.abort()
    return outcome


def sends_malformed_data_sets(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Send data sets that are none, that lack their UIDs, or that are another instance, between sound ones."""
    outcome, association = _half(peer, series, count)
    uid, data_set = series.uid(count), series.data_set(count)
    noise = random.Random(series.number).randbytes(len(data_set))  # noqa: S311 (no secret)
    malformed = {
        "noise": noise,
        "a cut header": data_set[:200],
        "nothing": b"",
        "another instance": series.data_set(count + 1),
        "an endless element": data_set[:300] + struct.pack("<HH2sxxI", 8, 0x1030, b"UT", 0xFFFFFFF0) + data_set[300:],
    }
    for name, data in malformed.items():
        status = association.store(association.encode(CT_IMAGE, uid, data))
        if status == SUCCESS:
            outcome.wrong.append(f"{name} was answered with Success")
    _send(association, series, range(count // 2, count), outcome)
    association.release()
    return outcome


def proposes_a_foreign_sop_class(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Propose a SOP class that is not taken, and send on it all the same."""
    outcome = Outcome()
    association = Association(peer, sop_class=SECONDARY_CAPTURE)
    if 1 in association.accepted:
        outcome.wrong.append("a foreign SOP class was accepted")
    data_set = series.data_set(count).replace(CT_IMAGE.encode(), SECONDARY_CAPTURE.encode().ljust(25, b"\0")[:25])
    try:
        status = association.store(association.encode(SECONDARY_CAPTURE, series.uid(count), data_set))
    except Ended:
        association.socket.close()
        return outcome
    if status == SUCCESS:
        outcome.wrong.append("an instance of a foreign SOP class was answered with Success")
    association.release()
    return outcome


def calls_another(peer: Peer, _series: SyntheticSeries, _count: int) -> Outcome:
    """Call an AE title that the node has not."""
    outcome = Outcome()
    try:
        Association(Peer(peer.port, "NOT_THIS_ONE", peer.calling))
        outcome.wrong.append("an association that called another was accepted")
    except Rejected as rejected:
        if rejected.code != (1, 1, 7):
            outcome.wrong.append(f"an association that called another was rejected with {rejected}")
    return outcome


def says_nothing(peer: Peer, _series: SyntheticSeries, _count: int) -> Outcome:
    """Connect and wait; then ask for half an association and wait. The acceptor must hang up."""
    outcome = Outcome()
    request = associate_request(peer, {1: (CT_IMAGE, "1.2.840.10008.1.2")})
    for opening in (b"", request[: len(request) // 2]):
        with socket.create_connection((peer.host, peer.port), timeout=_SILENT_TIMEOUT_S) as connection:
            connection.sendall(opening)
            try:
                while connection.recv(4096):
                    pass
            except TimeoutError:
                outcome.wrong.append(f"a connection silent after {len(opening)} bytes was never closed")
            except ConnectionError:
                pass
    return outcome


def falls_silent(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Stop in the middle of an instance without a word. The acceptor must hang up."""
    outcome, association = _half(peer, series, count)
    message = Message(association, series).of(count)
    association.send(message[: len(message) // 2])
    try:
        association.status()
        outcome.wrong.append("half an instance was answered")
    except Ended:
        pass
    except TimeoutError:
        outcome.wrong.append("an association that fell silent was never ended")
    association.socket.close()
    return outcome


def speaks_no_dicom(peer: Peer, series: SyntheticSeries, count: int) -> Outcome:
    """Send what is no PDU: at once, and in the middle of an association."""
    with socket.create_connection((peer.host, peer.port), timeout=_SILENT_TIMEOUT_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
    outcome, association = _half(peer, series, count)
    association.send(struct.pack(">BxI", 0x77, 0xFFFFFFFF) + bytes(100))
    association.socket.close()
    return outcome


FAULTS: dict[str, Callable[[Peer, SyntheticSeries, int], Outcome]] = {
    fault.__name__: fault
    for fault in (
        aborts_within_a_pdu,
        resets_within_a_pdu,
        aborts_between_pdus,
        sends_malformed_data_sets,
        proposes_a_foreign_sop_class,
        calls_another,
        says_nothing,
        falls_silent,
        speaks_no_dicom,
    )
}


def _half(peer: Peer, series: SyntheticSeries, count: int) -> tuple[Outcome, Association]:
    outcome, association = Outcome(), Association(peer)
    _send(association, series, range(count // 2), outcome)
    return outcome, association


def _send(association: Association, series: SyntheticSeries, instances: range, outcome: Outcome) -> None:
    message = Message(association, series)
    for instance in instances:
        status = association.store(message.of(instance))
        if status == SUCCESS:
            outcome.answered.append(instance)
        else:
            outcome.wrong.append(f"a sound instance was answered with {status:04X}")
