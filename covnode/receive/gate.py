"""Back-pressure: whether the node may take anything now.

Asked by the SCP and by STOW-RS, before an association and before each instance. Opens again by itself; never deletes
anything to make room.
"""

from dataclasses import dataclass, field
from pathlib import Path

from covnode.disk import Watermark


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
    _watermark: Watermark = field(init=False)

    def __post_init__(self) -> None:
        self._watermark = Watermark(self.folder, self.min_free_gb)

    def closed_because(self) -> str | None:
        """Return why nothing may be taken now, as a sentence for the log; None while it is open."""
        if self._watermark.is_below():
            return f"the disk of the spool has {self._watermark.free_gb:.1f} GB free, less than receive.min_free_gb"
        return self.told
