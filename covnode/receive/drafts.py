"""Files for what is arriving: made ahead, while a sender gets its next instance ready, and removed when left over.

Used by spool. Nobody was told Success for what lies here.
"""

import contextlib
import itertools
import os
from collections import deque
from pathlib import Path

_MOST = 4


class Drafts:
    """The drafts of one process; their names begin with its id.

    Parameters
    ----------
    folder
        On the file system of the spool.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = os.getpid()
        self._numbers = itertools.count(1)
        self._ready: deque[tuple[str, int]] = deque()

    def take(self) -> tuple[str, int]:
        """Return a new file and its descriptor, made ahead where there was time.

        Raises
        ------
        OSError
            There is no room.
        """
        try:
            return self._ready.popleft()
        except IndexError:
            return self._new()

    def prepare(self) -> None:
        """Make a file for the next instance, while its sender gets it ready."""
        if len(self._ready) < _MOST:
            with contextlib.suppress(OSError):
                self._ready.append(self._new())

    def tidy(self) -> None:
        """Give back what was prepared and is not needed now."""
        with contextlib.suppress(IndexError):
            while True:
                path, descriptor = self._ready.popleft()
                os.close(descriptor)
                unlink_quietly(path)

    def _new(self) -> tuple[str, int]:
        path = f"{self._folder}/{self._process}-{next(self._numbers)}"
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)


def clear_incoming(folder: Path, process: int | None = None) -> None:
    """Remove what was being received when a process broke off, or all of them."""
    for leftover in folder.glob("*" if process is None else f"{process}-*"):
        unlink_quietly(leftover)


def unlink_quietly(path: Path | str) -> None:
    """Remove a file that may be gone; what cannot be removed stays for the next start."""
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108 (once an instance: a Path costs more than the call)
