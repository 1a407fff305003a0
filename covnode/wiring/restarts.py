"""When a process that has ended is started again: at once, and later each time that it did not run for long.

Asked by the supervisor of its roles and by the receiver of its doors.
"""

import time
from dataclasses import dataclass

_SECOND_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
_STEADY_S = 30.0


@dataclass
class Restarts:
    """The starts of one process."""

    longest_pause_s: float = LONGEST_PAUSE_S
    _pause_s: float = 0.0
    _started_at_s: float = 0.0
    _start_at_s: float = 0.0

    def is_due(self) -> bool:
        """Whether it may be started now."""
        return time.monotonic() >= self._start_at_s

    def started(self) -> None:
        """Note a start."""
        self._started_at_s = time.monotonic()

    def ended(self) -> float:
        """Note an end and return the pause until the next start."""
        now_s = time.monotonic()
        if now_s - self._started_at_s > _STEADY_S:
            self._pause_s = 0.0
        pause_s = self._pause_s
        self._pause_s = min(max(2 * pause_s, _SECOND_PAUSE_S), self.longest_pause_s)
        self._start_at_s = now_s + pause_s
        return pause_s
