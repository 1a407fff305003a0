"""A lean C-STORE sender: one process an association, PDUs that are encoded once and patched, every response checked.

Comes from the benchmarks and from tests that push hard; goes to any storage SCP. It knows no product code, so that what
it measures and proves is what a peer sees, and it costs little of the cores that the SCP under test needs.
"""

import argparse
import json
import socket
import struct
import sys
import time
from dataclasses import dataclass

from dicom_instances import CT_IMAGE, SyntheticSeries, uid_value

VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
SUCCESS = 0x0000

_IMPLEMENTATION = "2.25.117460281956470136482046194762045871234"
_COMMAND, _DATA, _LAST = 0x01, 0x00, 0x02
_STORE_CONTEXT, _ECHO_CONTEXT = 1, 3
_PDU_AND_PDV_HEADER = 12


class Rejected(Exception):  # noqa: N818 (a result of PS3.8 9.3.4, not a defect)
    """The association was rejected: result, source, reason."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"result {result}, source {source}, reason {reason}")
        self.code = (result, source, reason)


class Ended(Exception):  # noqa: N818 (the peer's doing)
    """The peer aborted the association or closed the connection."""


@dataclass(frozen=True)
class Peer:
    """Whom to call, and as whom."""

    port: int
    called: str
    calling: str = "SENDER"
    host: str = "127.0.0.1"


def element(group: int, number: int, value: bytes) -> bytes:
    """Encode an element of a command set (implicit VR little endian)."""
    return struct.pack("<HHI", group, number, len(value)) + value


def command_set(*elements: bytes) -> bytes:
    """Put the group length before the elements of a command set."""
    body = b"".join(elements)
    return element(0, 0, struct.pack("<I", len(body))) + body


def store_command(sop_class: str, instance: str, message_id: int = 1) -> bytes:
    """Encode the command set of a C-STORE-RQ."""
    return command_set(
        element(0, 0x0002, uid_value(sop_class)),
        element(0, 0x0100, struct.pack("<H", 0x0001)),
        element(0, 0x0110, struct.pack("<H", message_id)),
        element(0, 0x0700, struct.pack("<H", 0)),
        element(0, 0x0800, struct.pack("<H", 0x0001)),
        element(0, 0x1000, uid_value(instance)),
    )


def echo_command() -> bytes:
    """Encode the command set of a C-ECHO-RQ."""
    return command_set(
        element(0, 0x0002, uid_value(VERIFICATION)),
        element(0, 0x0100, struct.pack("<H", 0x0030)),
        element(0, 0x0110, struct.pack("<H", 1)),
        element(0, 0x0800, struct.pack("<H", 0x0101)),
    )


def pdus(context: int, kind: int, data: bytes | memoryview, pdu_bytes: int) -> bytes:
    """Encode ``data`` as P-DATA-TF PDUs of one PDV each; ``pdu_bytes`` bounds what follows a PDU's own header."""
    part_bytes = pdu_bytes - 6
    out = []
    for start in range(0, max(len(data), 1), part_bytes):
        part = data[start : start + part_bytes]
        last = _LAST if start + part_bytes >= len(data) else 0
        out.append(struct.pack(">BxIIBB", 4, len(part) + 6, len(part) + 2, context, kind | last) + bytes(part))
    return b"".join(out)


def associate_request(peer: Peer, contexts: dict[int, tuple[str, str]]) -> bytes:
    """Encode an A-ASSOCIATE-RQ that proposes SOP class and transfer syntax by context id."""

    def item(kind: int, value: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(value)) + value

    body = struct.pack(">Hxx16s16s32x", 1, peer.called.ljust(16).encode(), peer.calling.ljust(16).encode())
    body += item(0x10, APPLICATION_CONTEXT.encode())
    for number, (sop_class, syntax) in contexts.items():
        proposed = item(0x30, sop_class.encode()) + item(0x40, syntax.encode())
        body += item(0x20, bytes([number, 0, 0, 0]) + proposed)
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, _IMPLEMENTATION.encode()) + item(0x55, b"LEAN_SENDER")
    body += item(0x50, user)
    return struct.pack(">BxI", 1, len(body)) + body


class Association:
    """One association as its requestor."""

    def __init__(
        self, peer: Peer, *, sop_class: str = CT_IMAGE, syntax: str = EXPLICIT_LE, timeout_s: float = 60.0
    ) -> None:
        """Associate.

        Raises
        ------
        Rejected
            By the acceptor.
        Ended
            The acceptor aborted or closed.
        """
        self.socket = socket.create_connection((peer.host, peer.port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.max_pdu_bytes = 16384
        contexts = {_STORE_CONTEXT: (sop_class, syntax), _ECHO_CONTEXT: (VERIFICATION, "1.2.840.10008.1.2")}
        try:
            self.send(associate_request(peer, contexts))
            self.accepted = self._read_accept()
        except BaseException:
            self.socket.close()
            raise

    def _read_accept(self) -> set[int]:
        kind, body = self.read_pdu()
        if kind == 3:
            raise Rejected(body[1], body[2], body[3])
        if kind != 2:
            raise Ended(f"PDU type {kind} in answer to A-ASSOCIATE-RQ")
        accepted = set()
        place = 68
        while place < len(body):
            kind, length = struct.unpack_from(">BxH", body, place)
            value = body[place + 4 : place + 4 + length]
            if kind == 0x21 and value[2] == 0:
                accepted.add(value[0])
            elif kind == 0x50 and value[:1] == b"\x51":
                self.max_pdu_bytes = struct.unpack_from(">I", value, 4)[0] or 1 << 20
            place += 4 + length
        return accepted

    def read_pdu(self) -> tuple[int, bytes]:
        """Read one PDU; Ended when there is none."""
        kind, length = struct.unpack(">BxI", self._read(6))
        return kind, self._read(length)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionError as error:
                raise Ended(type(error).__name__) from None
            if not part:
                raise Ended("connection closed")
            data += part
        return data

    def status(self) -> int:
        """Read one response and return its status; Ended when the peer aborted."""
        kind, body = self.read_pdu()
        if kind != 4:
            raise Ended(f"PDU type {kind} in place of a response")
        place = 6
        while place < len(body):
            group, number, length = struct.unpack_from("<HHI", body, place)
            if (group, number) == (0, 0x0900):
                return int(struct.unpack_from("<H", body, place + 8)[0])
            place += 8 + length
        raise Ended("a response without a status")

    def send(self, data: bytes | bytearray) -> None:
        """Send raw bytes; Ended when the peer no longer takes them."""
        try:
            self.socket.sendall(data)
        except ConnectionError as error:
            raise Ended(type(error).__name__) from None

    def store(self, message: bytes | bytearray) -> int:
        """Send an encoded C-STORE and return the status of its response."""
        self.send(message)
        return self.status()

    def encode(self, sop_class: str, instance: str, data_set: bytes) -> bytes:
        """Encode one C-STORE for this association."""
        return pdus(_STORE_CONTEXT, _COMMAND, store_command(sop_class, instance), self.max_pdu_bytes) + pdus(
            _STORE_CONTEXT, _DATA, data_set, self.max_pdu_bytes
        )

    def echo(self) -> int:
        """C-ECHO."""
        return self.store(pdus(_ECHO_CONTEXT, _COMMAND, echo_command(), self.max_pdu_bytes))

    def release(self) -> None:
        """Release and close."""
        try:
            self.send(struct.pack(">BxI4x", 5, 4))
            self.read_pdu()
        finally:
            self.socket.close()

    def abort(self) -> None:
        """Abort and close."""
        try:
            self.send(struct.pack(">BxI4x", 7, 4))
        except Ended:
            pass
        finally:
            self.socket.close()


class Message:
    """The encoded C-STOREs of a series on one association: one buffer, patched for each instance."""

    def __init__(self, association: Association, series: SyntheticSeries) -> None:
        self._series = series
        uid = series.uid(0)
        self._buffer = bytearray(association.encode(CT_IMAGE, uid, series.data_set(0)))
        command_bytes = len(pdus(_STORE_CONTEXT, _COMMAND, store_command(CT_IMAGE, uid), association.max_pdu_bytes))
        self._uid_at = self._buffer.index(uid_value(uid))
        self._data_at = command_bytes + _PDU_AND_PDV_HEADER

    def of(self, instance: int) -> bytearray:
        """Return the C-STORE of an instance; valid until the next call."""
        uid = uid_value(self._series.uid(instance))
        self._buffer[self._uid_at : self._uid_at + len(uid)] = uid
        self._series.patch(self._buffer, self._data_at, instance)
        return self._buffer


def main() -> int:
    """Associate, say "ready", wait for a line, send; print when the first went and the last was answered."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called", required=True)
    parser.add_argument("--series", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--pdu-bytes", type=int, default=0, help="longest PDU; 0: what the acceptor takes")
    arguments = parser.parse_args()
    association = Association(Peer(arguments.port, arguments.called))
    if arguments.pdu_bytes:
        association.max_pdu_bytes = min(association.max_pdu_bytes, arguments.pdu_bytes)
    message = Message(association, SyntheticSeries(arguments.series, arguments.size))
    print("ready", flush=True)
    sys.stdin.readline()
    first_s = time.monotonic()
    statuses = [association.store(message.of(instance)) for instance in range(arguments.count)]
    last_s = time.monotonic()
    association.release()
    wrong = sorted({f"{status:04X}" for status in statuses if status != SUCCESS})
    answer = {"first_s": first_s, "last_s": last_s, "wrong": wrong, "pdu_bytes": association.max_pdu_bytes}
    print(json.dumps(answer), flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
