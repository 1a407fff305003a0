"""What a disk is asked for: room, against a watermark; that the names in a folder stay; what a file holds.

Called by the gate, the worker, the sender, the doctor, and whoever writes what must outlive a power failure.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

_GB = 1_000_000_000
# There is room again only with this much more of it, so that nothing flutters.
_HYSTERESIS = 1.1


def free_gb(folder: Path) -> float:
    """Return the room that the disk of a folder has for this user.

    Raises
    ------
    OSError
        The disk does not answer.
    """
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize / _GB


@dataclass
class Watermark:
    """A least room on the disk of a folder.

    Attributes
    ----------
    free_gb
        As it was at the last look.
    """

    folder: Path
    least_gb: float
    free_gb: float = float("inf")
    _is_below: bool = False

    def is_below(self) -> bool:
        """Look whether there is less room than that."""
        self.free_gb = free_gb(self.folder)
        self._is_below = self.free_gb < self.least_gb * (_HYSTERESIS if self._is_below else 1.0)
        return self._is_below


def sync_folder(folder: Path | str) -> None:
    """Make the names in a folder durable.

    Raises
    ------
    OSError
        The disk does not take them.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
