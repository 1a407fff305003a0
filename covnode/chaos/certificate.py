"""The certificate: what was done to the node, what became of each series, and the verdict; as JSON and as text."""

import os
import platform
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import covnode
from covnode.chaos.proof import GOOD, Fate, SeriesFate
from covnode.chaos.small_disk import DiskRun
from covnode.chaos.storm import CaseRun


@dataclass(frozen=True)
class Certificate:
    """What was proved, or what was not.

    Attributes
    ----------
    in_flight
        For each case the numbers of the series that were on their way when its point was reached.
    """

    plan: str
    database: str
    started_at: datetime
    ended_at: datetime
    runs: tuple[CaseRun, ...]
    in_flight: tuple[tuple[int, ...], ...]
    fates: tuple[SeriesFate, ...]
    stale_writes: tuple[str, ...]
    small_disk: DiskRun | None

    @property
    def failures(self) -> list[str]:
        """Everything that keeps it from being passed."""
        every = self._every_fate
        failures = [f"{run.case.name}: the point was not reached" for run in self.runs if not run.has_fired]
        failures += [f"series {fate.number}: {fate.fate}: {fate.reason}" for fate in every if fate.fate not in GOOD]
        failures += [f"fence: {line}" for line in self._stale_writes]
        if self.small_disk and self.small_disk.not_run_because is None and self.small_disk.refusals == 0:
            failures.append("small disk: the node took instances although its disk was full")
        return failures

    @property
    def counts(self) -> dict[str, int]:
        """The figures in short."""
        every = self._every_fate
        found = Counter(fate.fate for fate in every)
        return {
            "cases": len(self.runs),
            "series": len(every),
            "instances_answered": sum(fate.answered for fate in every),
            **{str(fate).replace(" ", "_"): found[fate] for fate in Fate},
            "objects_at_pacs": sum(fate.objects for fate in every),
            "resent_same_bytes": sum(fate.resent for fate in every),
            "stale_writes": len(self._stale_writes),
        }

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "verdict": "failed" if self.failures else "passed",
            "failures": self.failures,
            "plan": self.plan,
            "covnode": covnode.__version__,
            "database": self.database,
            "machine": _machine(),
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat(),
            "took_s": round((self.ended_at - self.started_at).total_seconds(), 1),
            "counts": self.counts,
            "cases": [
                {
                    "node": run.node,
                    "case": run.case.name,
                    "point": run.case.point.name,
                    "role": str(run.case.point.role),
                    "action": str(run.case.action),
                    "reached": len(run.firings),
                    "took_s": round(run.took_s, 1),
                    "series": run.series,
                    "in_flight": list(in_flight),
                }
                for run, in_flight in zip(self.runs, self.in_flight, strict=True)
            ],
            "series": [_plain(fate) for fate in self.fates],
            "small_disk": self._disk(),
        }

    @property
    def _every_fate(self) -> list[SeriesFate]:
        return [*self.fates, *(self.small_disk.fates if self.small_disk else ())]

    @property
    def _stale_writes(self) -> list[str]:
        return [*self.stale_writes, *(self.small_disk.stale_writes if self.small_disk else ())]

    def _disk(self) -> dict[str, Any] | None:
        disk = self.small_disk
        if disk is None:
            return None
        if disk.not_run_because is not None:
            return {"run": False, "why": disk.not_run_because}
        return {"run": True, "refusals": disk.refusals, "series": [_plain(fate) for fate in disk.fates]}

    def as_text(self) -> str:
        """Return it for a person."""
        by_number = {fate.number: fate for fate in self.fates}
        took_s = (self.ended_at - self.started_at).total_seconds()
        lines = [
            f"covnode chaos --{self.plan}: {'FAILED' if self.failures else 'passed'}",
            f"covnode {covnode.__version__} on {self.database}, {self.started_at:%Y-%m-%d %H:%M} UTC, {took_s:.0f} s",
            *(f"{name}: {value}" for name, value in _machine().items()),
            "",
        ]
        for run, in_flight in zip(self.runs, self.in_flight, strict=True):
            became = Counter(by_number[number].fate for number in in_flight)
            what = ", ".join(f"{count} {fate}" for fate, count in became.items()) or "nothing"
            reached = "reached" if run.has_fired else "NOT REACHED"
            lines.append(f"  {run.case.name:<50} {reached}, {run.took_s:4.0f} s; in flight: {what}")
        if self.small_disk is not None:
            lines.append(f"  {'small disk':<50} {self._disk_in_words(self.small_disk)}")
        lines += ["", *(f"{name.replace('_', ' ')}: {count}" for name, count in self.counts.items())]
        letters = [fate for fate in self.fates if fate.fate is Fate.DEAD_LETTER]
        lines += [f"dead letter, series {fate.number}: {fate.reason}" for fate in letters]
        lines += [f"FAILURE: {failure}" for failure in self.failures]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _disk_in_words(disk: DiskRun) -> str:
        if disk.not_run_because is not None:
            return f"NOT RUN: {disk.not_run_because}"
        became = Counter(fate.fate for fate in disk.fates)
        return f"{disk.refusals} refusals; " + ", ".join(f"{count} {fate}" for fate, count in became.items())


def _plain(fate: SeriesFate) -> dict[str, Any]:
    return {**asdict(fate), "fate": str(fate.fate)}


def _machine() -> dict[str, str]:
    return {
        "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "software": f"Python {platform.python_version()}, dbos {version('dbos')}, SQLAlchemy {version('sqlalchemy')}, "
        f"pynetdicom {version('pynetdicom')}",
    }
