"""The receiver's byte-level readers as functions of bytes: they may refuse, and nothing else.

Called by the coverage-guided run and by the replay of its seeds.
"""

import hashlib

from broken_streams import SYNTAXES

from covnode.errors import InstanceRefused
from covnode.receive.header import scan
from covnode.receive.header_layout import Layouts
from covnode.receive.instance_facts import patient_words, slice_facts
from covnode.receive.p_data import PDataLane, Violation
from covnode.receive.pdu_stream import ConnectionClosed, PduStream
from covnode.receive.store_commands import StoreRequest, read_store_request, store_response

# As in a door: what one header taught must not change how the next is read, nor have it fail.
_LAYOUTS = Layouts()


def data_set(data: bytes) -> None:
    """Scan a header; the first byte chooses the transfer syntax."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    try:
        values = scan(lambda count: data[1 : 1 + count], syntax, _LAYOUTS)
    except InstanceRefused:
        return
    slice_facts(values, stat=False)
    patient_words(values)


def command(data: bytes) -> None:
    """Read a command set; what is a C-STORE-RQ is answered."""
    request = read_store_request(data)
    if request is not None:
        assert store_response(request, 1, 0xC000, "why")[0] == 4


class _Connection:
    """A socket whose peer has sent these bytes and closed; they come in pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def fileno(self) -> int:
        return 0

    def recv_into(self, room: memoryview) -> int:
        piece = self._data[: min(len(room), 1 + len(self._data) // 2)]
        self._data = self._data[len(piece) :]
        room[: len(piece)] = piece
        return len(piece)


class _Reception:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.open = True
        self._memory = memoryview(bytearray(100))

    def room(self) -> memoryview:
        return self._memory

    def took(self, count: int) -> None:
        assert self.open, "data after the end"
        self.digest.update(self._memory[:count])

    def end(self) -> tuple[int, str]:
        assert self.open, "a second end"
        self.open = False
        return 0, ""

    def close(self) -> None:
        self.open = False


def p_data(data: bytes) -> None:
    """Read P-DATA-TF bodies, each of them behind a length of two bytes."""
    receptions: list[_Reception] = []
    answers: list[bytes] = []

    def receive(_request: StoreRequest, _context_id: int) -> _Reception:
        assert not any(reception.open for reception in receptions), "an instance begins within another"
        receptions.append(_Reception())
        return receptions[-1]

    lane = PDataLane(receive, answers.append, lambda _context_id, _value: None)
    stream = PduStream(_Connection(data), wake=0)
    try:
        while True:
            lane.read(stream, int.from_bytes(stream.take(2), "big"))
    except (Violation, ConnectionClosed):
        lane.broken()
    assert not any(reception.open for reception in receptions)
    assert len(answers) <= len(receptions)


TARGETS = {"data_set": data_set, "command": command, "p_data": p_data}
