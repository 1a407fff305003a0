"""How many associations are open, over all doors: one locked file each, which the kernel frees with its process.

Comes from the admission, which takes a slot for each association that it lets in; goes to nobody. It holds no row and
no counter that a killed door could leave wrong.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

_GUARD = "guard"
# It is held for well under a millisecond by whoever is not stopped.
_GUARD_WITHIN_S = 1.0
_LOOK_AGAIN_S = 0.0005


class Slot:
    """The place of one open association."""

    def __init__(self, held: FileIO) -> None:
        self._held = held

    def release(self) -> None:
        """Give the place back; a second call does nothing."""
        self._held.close()


class AssociationSlots:
    """The places of all associations, shared by every process that uses the same folder.

    Parameters
    ----------
    folder
        Where the locked files lie; made when it is not there.
    limit
        How many associations may be open at a time.
    per_peer
        How many of them one calling AE title may have.

    Raises
    ------
    OSError
        The folder cannot be made.
    """

    def __init__(self, folder: Path, limit: int, per_peer: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._per_peer = per_peer
        # Open once, to look at each file without opening it: a door looks at all of them for each association.
        self._probes: list[FileIO] = []

    def take(self, calling: str) -> Slot | None:
        """Take a place for an association of ``calling``; None when all, or all of this peer, are taken.

        Raises
        ------
        OSError
            A file cannot be opened or written, or a process that was stopped holds the guard.
        """
        name = calling.encode("utf-8", "replace")
        free: Path | None = None
        of_this_peer = 0
        with self._guarded():
            for number in range(self._limit):
                path = self._folder / str(number)
                # Files are made in order and never removed: behind the first that is not there, none is taken.
                if free is not None and number >= len(self._probes) and not path.exists():
                    break
                if number >= len(self._probes):
                    self._probes.append(FileIO(path, "a+"))
                probe = self._probes[number]
                if _is_held(probe):
                    of_this_peer += os.pread(probe.fileno(), len(name) + 1, 0) == name
                elif free is None:
                    free = path
            if free is None or of_this_peer >= self._per_peer:
                return None
            return _hold(free, name)

    def in_use(self) -> int:
        """Return how many associations are open now.

        Raises
        ------
        OSError
            As for `take`.
        """
        held = 0
        with self._guarded():
            for path in self._folder.iterdir():
                if path.name != _GUARD:
                    with FileIO(path, "r") as file:
                        held += _is_held(file)
        return held

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        # Whoever looks at a file by locking it would else make it seem taken to another who looks at that moment.
        with FileIO(self._folder / _GUARD, "a") as file:
            deadline_s = time.monotonic() + _GUARD_WITHIN_S
            while not _lock(file):
                if time.monotonic() > deadline_s:
                    raise OSError(errno.EAGAIN, "another process holds the places and does not go on")
                time.sleep(_LOOK_AGAIN_S)
            yield


def _hold(path: Path, name: bytes) -> Slot:
    file = FileIO(path, "a+")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.truncate(0)
    file.write(name)
    return Slot(file)


def _is_held(file: FileIO) -> bool:
    """Return whether somebody holds the file; a lock belongs to the open file, so threads exclude each other too."""
    if not _lock(file):
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _lock(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
