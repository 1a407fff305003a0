"""How many associations are open, over all doors: one locked file each, which the kernel frees with its process.

Comes from the admission, which takes a slot for each association that it lets in; goes to nobody. It holds no row and
no counter that a killed door could leave wrong.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

_GUARD = "guard"


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

    def take(self, calling: str) -> Slot | None:
        """Take a place for an association of ``calling``; None when all, or all of this peer, are taken.

        Raises
        ------
        OSError
            A file cannot be opened or written.
        """
        name = calling.encode("utf-8", "replace")
        free: FileIO | None = None
        of_this_peer = 0
        with self._guarded():
            for number in range(self._limit):
                path = self._folder / str(number)
                if free is not None and not path.exists():
                    break  # files are made in order, and are never removed: none behind this one is taken
                file = FileIO(path, "a+")
                if free is None and _locked(file):
                    free = file
                    continue
                with file:
                    if not _locked(file):
                        file.seek(0)
                        of_this_peer += file.read() == name
            if free is None or of_this_peer >= self._per_peer:
                if free is not None:
                    free.close()
                return None
            free.truncate(0)
            free.write(name)
            return Slot(free)

    def in_use(self) -> int:
        """Return how many associations are open now."""
        with self._guarded():
            return sum(not self._is_free(path) for path in self._folder.iterdir() if path.name != _GUARD)

    @staticmethod
    def _is_free(path: Path) -> bool:
        with FileIO(path, "r") as file:
            return _locked(file)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        # Whoever looks at a file by locking it would else make it seem taken to another who looks at that moment.
        with FileIO(self._folder / _GUARD, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _locked(file: FileIO) -> bool:
    """Lock the file if nobody else holds it; it belongs to the open file, so threads exclude each other too."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
