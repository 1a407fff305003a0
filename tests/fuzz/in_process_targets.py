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
from covnode.receive.pdu_stream import ConnectionClosed
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


class _Stream:
    """A PduStream of bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise ConnectionClosed
        taken, self._data = self._data[:count], self._data[count:]
        return bytes(taken)

    def pass_on(self, count: int, write) -> None:
        write(memoryview(self.take(count)))


class _Reception:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.open = True

    def write(self, chunk: memoryview) -> None:
        assert self.open, "data after the end"
        self.digest.update(chunk)

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
    stream = _Stream(data)
    try:
        while True:
            lane.read(stream, int.from_bytes(stream.take(2), "big"))
    except (Violation, ConnectionClosed):
        lane.broken()
    assert not any(reception.open for reception in receptions)
    assert len(answers) <= len(receptions)


TARGETS = {"data_set": data_set, "command": command, "p_data": p_data}
