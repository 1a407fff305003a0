"""Bytes of a new file on their way to the disk, past the kernel's page cache where the file system can do that.

Called by spool. What a scanner pushes is read by somebody else much later: to keep it in memory costs a copy and a page
for each 4 KiB of it, and a scanner that pushes for an hour would fill all memory with it.
"""

import errno
import fcntl
import mmap
import os
from collections import deque

# Room for an instance of 512 x 512: written at once.
_BUFFER_BYTES = 1 << 20
# What open(2) asks of the place, the length and the memory of a direct write, on all disks that we know of.
_BLOCK_BYTES = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)  # not on macOS


class Buffers:
    """Memory that writers use one after the other: to ask the kernel for it anew costs as much as to copy into it."""

    def __init__(self) -> None:
        self._free: deque[memoryview] = deque()

    def take(self) -> memoryview:
        """Return memory that begins with a page of its own."""
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, _BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def give_back(self, buffer: memoryview) -> None:
        """Keep it for the next one."""
        self._free.append(buffer)


class BlockWriter:
    """Writes an open, empty file from its beginning to its end.

    Parameters
    ----------
    descriptor
        Stays the caller's.
    """

    def __init__(self, descriptor: int, buffers: Buffers) -> None:
        self._descriptor = descriptor
        self._buffers = buffers
        self._buffer = buffers.take()
        self._filled = 0
        self._written = 0
        self._flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        self._is_direct = False
        self._pass_the_cache(on=True)

    def room(self) -> memoryview:
        """Return memory, never empty, for the next bytes of the file; `took` says how many were put there."""
        return self._buffer[self._filled :]

    def took(self, count: int) -> None:
        """Take the first ``count`` bytes of `room`.

        Raises
        ------
        OSError
            There is no room on the disk.
        """
        self._filled += count
        if self._filled == _BUFFER_BYTES:
            self._write(0, _BUFFER_BYTES)
            self._filled = 0

    def finish(self) -> None:
        """Write what is left; the file can then be read, and is not yet durable; OSError as `took`."""
        blocks = self._filled // _BLOCK_BYTES * _BLOCK_BYTES
        self._write(0, blocks)
        self._pass_the_cache(on=False)
        self._write(blocks, self._filled)

    def read(self, start: int, end: int) -> bytes:
        """Return bytes of the file, after `finish`; fewer where it is shorter."""
        if self._written == self._filled:  # all of the file is still in memory
            return bytes(self._buffer[start : min(end, self._filled)])
        return os.pread(self._descriptor, end - start, start)

    def close(self) -> None:
        """Give the memory back."""
        self._buffers.give_back(self._buffer)

    def _write(self, start: int, end: int) -> None:
        while start < end:
            try:
                count = os.write(self._descriptor, self._buffer[start:end])
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                # A disk with larger blocks, or a write that the kernel cut short.
                self._pass_the_cache(on=False)
            else:
                start += count
                self._written += count

    def _pass_the_cache(self, *, on: bool) -> None:
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, self._flags | _DIRECT if on else self._flags)
        except OSError as error:
            if error.errno != errno.EINVAL:  # what a file system answers that cannot
                raise
        else:
            self._is_direct = on and bool(_DIRECT)
