"""What failed and is tried again, and what stands too long: memory of the loops of choosing and intake.

Called by choosing and intake at every look. Kept in memory alone: a restart tries at once and reports once more.
"""

import errno
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from covnode.clock import utc_now
from covnode.errors import ConfigurationError, CovnodeError, StorageAway
from covnode.logs import get_logger
from covnode.store.tables import SeriesRow

MAX_STORAGE_ATTEMPTS = 30
"""With pauses up to a minute about half an hour: a mount that comes back does so within it, a bad sector never."""

_LONGEST_PAUSE_S = 60.0
_MOST_DOUBLINGS = 30

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_STORAGE = frozenset({errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT})


class Cause(StrEnum):
    """What a failure says of its series: NO_ROOM nothing, STORAGE perhaps something, OTHER that it is at fault."""

    NO_ROOM = "no_room"
    STORAGE = "storage"
    OTHER = "other"


def cause_of(error: BaseException) -> Cause:
    """Return what a failure says of its series."""
    # A key file that lacks what another host has added is no fault of the series either.
    if isinstance(error, (StorageAway, ConfigurationError)):
        return Cause.STORAGE
    if isinstance(error, OSError):
        return Cause.NO_ROOM if error.errno in _NO_ROOM else Cause.STORAGE if error.errno in _STORAGE else Cause.OTHER
    return Cause.OTHER


def in_words(error: BaseException) -> str:
    """Return what may be logged and stored of a failure: the message of another library's error may quote a value."""
    if isinstance(error, CovnodeError):
        return str(error)
    number = error.errno if isinstance(error, OSError) else None
    return type(error).__name__ + (f" ({errno.errorcode.get(number, number)})" if number else "")


@dataclass
class _Setback:
    failures: Counter[Cause] = field(default_factory=Counter)
    not_before_s: float = 0.0


@dataclass
class Setbacks:
    """What failed how often, and when it is tried again: after a pause that doubles, up to a minute."""

    first_pause_s: float
    now_s: Callable[[], float] = time.monotonic
    _of: dict[str, _Setback] = field(default_factory=dict)

    def is_due(self, key: str) -> bool:
        """Whether it may be tried now."""
        setback = self._of.get(key)
        return setback is None or self.now_s() >= setback.not_before_s

    def note(self, key: str, cause: Cause) -> int:
        """Note one more failure and return how many of this cause there were."""
        setback = self._of.setdefault(key, _Setback())
        doublings = min(setback.failures.total(), _MOST_DOUBLINGS)
        setback.not_before_s = self.now_s() + min(self.first_pause_s * 2.0**doublings, _LONGEST_PAUSE_S)
        setback.failures[cause] += 1
        return setback.failures[cause]

    def forget(self, key: str) -> None:
        """Drop what was noted: it went well, or it came to its end."""
        self._of.pop(key, None)

    def forget_but(self, keys: Collection[str]) -> None:
        """Drop what was noted of all that waits no longer."""
        self._of = {key: setback for key, setback in self._of.items() if key in keys}


@dataclass
class StuckReport:
    """Says once of each series that it stands in one state for longer than it should; changes nothing."""

    limit_s: float
    _reported: set[str] = field(default_factory=set)

    def look(self, standing: Sequence[SeriesRow]) -> None:
        """Report what is new among all the series that stand in the state now."""
        now = utc_now()
        ages_s = {row.series_id: (now - row.state_at).total_seconds() for row in standing}
        stuck = {row.series_id: row for row in standing if ages_s[row.series_id] >= self.limit_s}
        for series_id in stuck.keys() - self._reported:
            state, age_s = stuck[series_id].state, round(ages_s[series_id])
            get_logger().error("series_stuck", series_id=series_id, state=str(state), age_s=age_s)
        self._reported = set(stuck)
