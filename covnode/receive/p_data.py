"""P-DATA of one association: the bytes of each C-STORE go to a reception as they come, and its answer goes back.

Comes from upper_layer, which reads the PDUs; goes to scp's receptions, and with every message that is no C-STORE-RQ to
pynetdicom. No object per PDU, no copy of a data set (PS3.8 section 9.3.5 and Annex E, PS3.7 section 6.3.1).
"""

import struct
from collections.abc import Callable
from typing import Protocol

from covnode.receive.pdu_stream import PduStream, Sink
from covnode.receive.store_commands import StoreRequest, read_store_request, store_response

_MAX_COMMAND_BYTES = 1 << 16
# Data sets of other messages than C-STORE are kept in memory by pynetdicom.
_MAX_OTHER_DATA_SET_BYTES = 1 << 23


class Violation(Exception):  # noqa: N818 (handled by upper_layer: the association is aborted)
    """The peer breaks PS3.8."""


class Reception(Sink, Protocol):
    """Takes the data set of one instance; none of its methods raises."""

    def end(self) -> tuple[int, str]:
        """Return the status and a comment to answer with: the data set is whole."""
        ...

    def close(self) -> None:
        """Clean up: the answer is on its way, or the association ended before the data set did."""
        ...


Receive = Callable[[StoreRequest, int], Reception]
"""(request, presentation context id) -> what takes the data set."""


class PDataLane:
    """Parts the P-DATA of one association.

    Parameters
    ----------
    receive
        Begins an instance.
    send
        Sends a PDU to the peer.
    pass_on
        (presentation context id, presentation data value) of every other message.
    """

    def __init__(self, receive: Receive, send: Callable[[bytes], None], pass_on: Callable[[int, bytes], None]) -> None:
        self._receive = receive
        self._send = send
        self._pass_on = pass_on
        self._command = bytearray()
        self._other_bytes = 0
        self._request: tuple[StoreRequest, int] | None = None
        self._reception: Reception | None = None

    @property
    def is_receiving(self) -> bool:
        """Whether an instance has begun and not ended."""
        return self._reception is not None

    def broken(self) -> None:
        """Forget the instance that was arriving."""
        if self._reception is not None:
            self._reception.close()
            self._reception = None

    def read(self, stream: PduStream, length: int) -> None:
        """Read the ``length`` bytes of one P-DATA-TF behind its header.

        Raises
        ------
        Violation
            They are no presentation data values in the order of PS3.7.
        ConnectionClosed
            They do not come.
        """
        while length:
            if length < 6:
                raise Violation
            item_length, context_id, control = struct.unpack(">LBB", stream.take(6))
            size = item_length - 2
            length -= 6 + size
            if size < 0 or length < 0:
                raise Violation
            is_last = bool(control & 2)
            if control & 1:
                self._take_command(stream, size, context_id, is_last=is_last)
            elif self._reception is not None:
                self._take_data(stream, size, context_id, is_last=is_last)
            else:
                self._other_bytes += size
                if self._other_bytes > _MAX_OTHER_DATA_SET_BYTES:
                    raise Violation
                self._pass_on(context_id, bytes([control]) + stream.take(size))

    def _take_command(self, stream: PduStream, size: int, context_id: int, *, is_last: bool) -> None:
        if self._reception is not None or len(self._command) + size > _MAX_COMMAND_BYTES:
            raise Violation
        self._command += stream.take(size)
        if not is_last:
            return
        command = bytes(self._command)
        self._command.clear()
        self._other_bytes = 0
        request = read_store_request(command)
        if request is None:
            self._pass_on(context_id, b"\x03" + command)
            return
        self._request = (request, context_id)
        self._reception = self._receive(request, context_id)
        if not request.has_data_set:
            self._answer(self._reception, request, context_id)

    def _take_data(self, stream: PduStream, size: int, context_id: int, *, is_last: bool) -> None:
        if self._reception is None or self._request is None or context_id != self._request[1]:
            raise Violation
        stream.pass_on(size, self._reception)
        if is_last:
            self._answer(self._reception, *self._request)

    def _answer(self, reception: Reception, request: StoreRequest, context_id: int) -> None:
        self._reception = self._request = None
        try:
            status, comment = reception.end()
            self._send(store_response(request, context_id, status, comment))
        finally:
            reception.close()
