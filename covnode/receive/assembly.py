"""When a series is complete, and why: rules on the evidence, the idle timer alone only where there is no other.

Comes from what the doors report; goes to the tables by wiring. Never reads a file and never sees an identity.
"""

import threading
from dataclasses import dataclass, field

from covnode.receive.evidence import ABORTED, OPEN, RELEASED, Contents, Evidence
from covnode.settings import CompletenessSettings

__all__ = ["ABORTED", "RELEASED", "AssociationLedger", "Verdict", "least_wait_s", "verdict"]

EXPECTED_COUNT = "expected_count"
NO_GAP = "no_gap"
GAP = "gap"
TOO_FEW = "too_few"
STILL_OPEN = "still_open"
BROKEN_OFF = "broken_off"
WATCHDOG = "watchdog"

_MOST_ENDS = 10_000


@dataclass
class AssociationLedger:
    """Which associations feed which series, and how those of a series ended; safe to share between threads."""

    _feeding: dict[str, set[str]] = field(default_factory=dict)
    _ended: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def feeds(self, association_id: str, series_id: str) -> None:
        """Note that an instance of the series came on this association."""
        with self._lock:
            if not self._is_fed(series_id):
                self._ended.pop(series_id, None)
            self._feeding.setdefault(association_id, set()).add(series_id)

    def ended(self, association_id: str, how: str) -> None:
        """Note the end of the association; the first word on it stands."""
        with self._lock:
            for series_id in self._feeding.pop(association_id, set()):
                # Of associations side by side the one that broke off counts: what it was to bring may be missing.
                if self._ended.get(series_id) != ABORTED:
                    self._ended.pop(series_id, None)
                    self._ended[series_id] = how
            # Late slices that change nothing leave an end behind that nobody asks for.
            while len(self._ended) > _MOST_ENDS:
                del self._ended[next(iter(self._ended))]

    def end_of(self, series_id: str) -> str | None:
        """Return how the last associations ended; None while one is still open."""
        with self._lock:
            if self._is_fed(series_id):
                return None
            # After a restart no association is known: whatever fed the series has broken off.
            return self._ended.get(series_id, ABORTED)

    def forget(self, series_id: str) -> None:
        """Drop what is known of a series that is complete."""
        with self._lock:
            self._ended.pop(series_id, None)

    def _is_fed(self, series_id: str) -> bool:
        return any(series_id in fed for fed in self._feeding.values())


@dataclass(frozen=True)
class Verdict:
    """A series is complete: by which rule, and the evidence as a sentence."""

    rule: str
    sentence: str


def least_wait_s(association: str, limits: CompletenessSettings) -> float:
    """Return the quiet time before which no rule can hold, whatever has come."""
    if association == RELEASED:
        return 0.0
    return min(limits.idle_s, limits.open_idle_s if association == OPEN else limits.aborted_idle_s)


def verdict(evidence: Evidence, limits: CompletenessSettings) -> Verdict | None:
    """Return why the series counts as complete, or None while it does not."""
    rule, wait_s = _rule(evidence, limits)
    if evidence.quiet_s >= wait_s:
        time = f", no slice for {wait_s:g} s" if wait_s else ""
    elif evidence.age_s >= limits.watchdog_s:
        rule, time = WATCHDOG, f", closed by force {limits.watchdog_s:g} s after its first slice"
    else:
        return None
    return Verdict(rule, f"association {_ASSOCIATION[evidence.association]}, {_came(evidence)}{time}")


_ASSOCIATION = {RELEASED: "released", ABORTED: "aborted", OPEN: "still open"}


def _rule(evidence: Evidence, limits: CompletenessSettings) -> tuple[str, float]:
    """Return the rule that applies, and how long the series must be quiet by it."""
    is_of_acquisitions = evidence.expected_by == "acquisition"
    if evidence.is_all_there and not is_of_acquisitions:
        return EXPECTED_COUNT, 0.0 if evidence.association == RELEASED else limits.idle_s
    if evidence.is_all_there:
        # Another acquisition may follow, of which nothing is announced yet.
        rule, wait_s = EXPECTED_COUNT, limits.idle_s
    elif evidence.is_short:
        rule, wait_s = TOO_FEW, limits.gap_idle_s
    elif evidence.contents.seems_whole:
        rule, wait_s = NO_GAP, limits.idle_s
    else:
        rule, wait_s = GAP, limits.gap_idle_s
    if evidence.association == RELEASED:
        return rule, wait_s
    if evidence.association == OPEN:
        return STILL_OPEN, max(limits.open_idle_s, wait_s)
    return BROKEN_OFF, max(limits.aborted_idle_s, wait_s)


def _came(evidence: Evidence) -> str:
    contents = evidence.contents
    if not evidence.is_all_there and not evidence.is_short:
        return f"{_kind(contents)}{_row(contents)}"
    whose = "images of the scan" if evidence.expected_by == "acquisition" else "expected instances"
    gaps = _row(contents) if evidence.is_short and contents.geometry.gaps else ""
    return f"{contents.instances} of {evidence.expected} {whose}{gaps}"


def _kind(contents: Contents) -> str:
    if contents.frames and contents.instances == 1:
        return f"1 multi-frame instance of {contents.frames} frames"
    what = "slice" if contents.geometry.positions else "image"
    return f"1 {what}" if contents.instances == 1 else f"{contents.instances} {what}s"


def _row(contents: Contents) -> str:
    geometry = contents.geometry
    if geometry.gaps:
        holes = "1 gap of" if geometry.gaps == 1 else f"{geometry.gaps} gaps, the largest of"
        return f" at {geometry.spacing_mm:g} mm with {holes} {geometry.largest_gap_mm:g} mm"
    if geometry.contiguous and (geometry.alone or not contents.missing_numbers):
        return f" without a gap at {geometry.spacing_mm:g} mm"
    if contents.instances == 1:
        return ""
    if contents.missing_numbers is None:
        return ", whose headers do not tell whether some are missing"
    if contents.missing_numbers:
        return f", {contents.missing_numbers} of their numbers missing"
    return " numbered without a gap"
