"""When a series is complete, and why: from the associations that feed it and the time since its last slice."""

import threading
from dataclasses import dataclass, field

RELEASED = "released"
ABORTED = "aborted"


@dataclass(frozen=True)
class IdleTimes:
    """How long a series must be quiet, by how its last association ended."""

    released_s: float
    aborted_s: float


@dataclass
class AssociationLedger:
    """Which associations feed which series, and how the last one ended; shared by the SCP's threads."""

    _feeding: dict[int, set[str]] = field(default_factory=dict)
    _ended: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def feeds(self, association: int, series_id: str) -> None:
        """Note that an instance of the series came on this association."""
        with self._lock:
            self._feeding.setdefault(association, set()).add(series_id)

    def ended(self, association: int, how: str) -> None:
        """Note the end of the association; the first word on it stands."""
        with self._lock:
            for series_id in self._feeding.pop(association, set()):
                self._ended[series_id] = how

    def end_of(self, series_id: str) -> str | None:
        """Return how the last association ended; None while one is still open."""
        with self._lock:
            if any(series_id in fed for fed in self._feeding.values()):
                return None
            # After a restart no association is known: whatever fed the series has broken off.
            return self._ended.get(series_id, ABORTED)

    def forget(self, series_id: str) -> None:
        """Drop what is known of a series that is complete."""
        with self._lock:
            self._ended.pop(series_id, None)


def evidence_of_completeness(end: str | None, quiet_s: float, idle: IdleTimes) -> str | None:
    """Return why the series counts as complete, or None while it does not.

    Parameters
    ----------
    end
        How the last association that fed the series ended; None while it is open.
    quiet_s
        Time since its last slice.
    idle
        How long it must be quiet.
    """
    if end is None:
        return None
    limit_s = idle.released_s if end == RELEASED else idle.aborted_s
    if quiet_s < limit_s:
        return None
    return f"association {end}, no slice for {limit_s:g} s"
