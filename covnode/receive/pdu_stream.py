"""Bytes of one connection, read once into one buffer: PDUs are looked at where they lie.

Comes from the socket; goes to upper_layer. PS3.8 section 9.3.1.
"""

import contextlib
import select
import socket
import ssl
from collections.abc import Callable

# Room for an instance of 512 x 512 with its command: read at once, written at once.
_BUFFER_BYTES = 1 << 20


class ConnectionClosed(Exception):  # noqa: N818 (an end, not an error)
    """The peer closed the connection, or fell silent in the middle of a PDU."""


class PduStream:
    """Reads a socket that has a time-out.

    Parameters
    ----------
    wake
        A descriptor that ends `wait` when it can be read.
    """

    def __init__(self, connection: socket.socket, wake: int) -> None:
        self._wake = wake
        self._connection = connection
        self._view = memoryview(bytearray(_BUFFER_BYTES))
        self._start = 0
        self._end = 0
        self._descriptor = connection.fileno()
        self._poller = select.poll()
        self._poller.register(self._descriptor, select.POLLIN)
        self._poller.register(wake, select.POLLIN)

    @property
    def has_bytes(self) -> bool:
        """Whether bytes are here already."""
        return self._end > self._start or (
            isinstance(self._connection, ssl.SSLSocket) and self._connection.pending() > 0
        )

    def wait(self, timeout_s: float | None) -> tuple[bool, bool]:
        """Wait for bytes (or their end), or for the descriptor ``wake``; return which of the two is there."""
        if self.has_bytes:
            return True, False
        ready = dict(self._poller.poll(None if timeout_s is None else timeout_s * 1000))
        return self._descriptor in ready, self._wake in ready

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes, of which there are few.

        Raises
        ------
        ConnectionClosed
            They do not come.
        """
        if count > _BUFFER_BYTES:
            parts: list[bytes] = []
            self.pass_on(count, lambda chunk: parts.append(bytes(chunk)))
            return b"".join(parts)
        while self._end - self._start < count:
            if _BUFFER_BYTES - self._start < count:
                self._to_front()
            self._fill()
        taken = bytes(self._view[self._start : self._start + count])
        self._start += count
        return taken

    def pass_on(self, count: int, write: Callable[[memoryview], None]) -> None:
        """Hand the next ``count`` bytes to ``write`` in pieces, each valid during the call only."""
        while count:
            if self._end == self._start:
                self._start = self._end = 0
                self._fill()
            piece = min(count, self._end - self._start)
            write(self._view[self._start : self._start + piece])
            self._start += piece
            count -= piece

    def close(self) -> None:
        """Close the connection, in whatever state it is; pynetdicom leaves some open."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def discard(self) -> None:
        """Forget what is here; where nothing is, read what has come.

        Raises
        ------
        ConnectionClosed
            There is no more.
        """
        if self._start == self._end:
            self._fill()
        self._start = self._end

    def _to_front(self) -> None:
        length = self._end - self._start
        self._view[:length] = bytes(self._view[self._start : self._end])
        self._start, self._end = 0, length

    def _fill(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        try:
            received = self._connection.recv_into(self._view[self._end :])
        except OSError:  # TimeoutError and ssl.SSLError are among them
            raise ConnectionClosed from None
        if received == 0:
            raise ConnectionClosed
        self._end += received
