"""Bytes of one connection: the few that say what comes are read ahead, the many of a data set go where they are wanted.

Comes from the socket; goes to upper_layer. PS3.8 section 9.3.1.
"""

import contextlib
import select
import socket
import ssl
from typing import Protocol

# Room for the command of an instance and the head of what follows; more would be copied once more.
_BUFFER_BYTES = 1 << 13


class ConnectionClosed(Exception):  # noqa: N818 (an end, not an error)
    """The peer closed the connection, or fell silent in the middle of a PDU."""


class Sink(Protocol):
    """Takes bytes where they shall lie."""

    def room(self) -> memoryview:
        """Return memory, never empty, to put the next bytes into."""
        ...

    def took(self, count: int) -> None:
        """Take the first ``count`` bytes of `room`."""
        ...


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
            whole = _Whole(count)
            self.pass_on(count, whole)
            return bytes(whole.content)
        if _BUFFER_BYTES - self._start < count:
            self._to_front()
        while self._end - self._start < count:
            self._fill()
        taken = bytes(self._view[self._start : self._start + count])
        self._start += count
        return taken

    def pass_on(self, count: int, sink: Sink) -> None:
        """Put the next ``count`` bytes into ``sink``; ConnectionClosed as `take`."""
        while count:
            room = sink.room()
            here = min(count, self._end - self._start, len(room))
            if here:
                room[:here] = self._view[self._start : self._start + here]
                self._start += here
            else:
                here = self._receive(room[:count])
            sink.took(here)
            count -= here

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
        self._end += self._receive(self._view[self._end :])

    def _receive(self, room: memoryview) -> int:
        try:
            received = self._connection.recv_into(room)
        except OSError:  # TimeoutError and ssl.SSLError are among them
            raise ConnectionClosed from None
        if received == 0:
            raise ConnectionClosed
        return received


class _Whole:
    """Keeps bytes in memory."""

    def __init__(self, count: int) -> None:
        self.content = bytearray(count)
        self._room = memoryview(self.content)

    def room(self) -> memoryview:
        return self._room

    def took(self, count: int) -> None:
        self._room = self._room[count:]
