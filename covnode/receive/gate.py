"""Back-pressure: whether the node may take anything now.

Asked by the SCP and by STOW-RS, before an association and before each instance. Opens again by itself; never deletes
anything to make room.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_GB = 1_000_000_000
# It opens again with this much more room than it closes at, so that it does not flutter.
_HYSTERESIS = 1.1


@dataclass
class Gate:
    """Closed while the spool's disk is at its watermark, or the receiver says so.

    Attributes
    ----------
    folder
        On the disk of the spool.
    told
        Why the receiver wants it closed (the database is away), or None.
    """

    folder: Path
    min_free_gb: float
    told: str | None = None
    _full: str | None = None

    def closed_because(self) -> str | None:
        """Return why nothing may be taken now, as a sentence for the log; None while it is open."""
        disk = os.statvfs(self.folder)
        free_gb = disk.f_bavail * disk.f_frsize / _GB
        is_full = free_gb < self.min_free_gb * (_HYSTERESIS if self._full else 1.0)
        self._full = (
            f"the disk of the spool has {free_gb:.1f} GB free, less than receive.min_free_gb" if is_full else None
        )
        return self._full or self.told
