"""Runs a plan from its beginning to the certificate: the front door of the chaos, called by ``covnode chaos``."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from covnode.chaos.certificate import Certificate
from covnode.chaos.databases import PostgresqlDatabase
from covnode.chaos.ground import Ground, Surroundings
from covnode.chaos.pacs import StoredObject
from covnode.chaos.plan import Plan
from covnode.chaos.proof import GOOD, Fate, SeriesFate
from covnode.chaos.pushes import PushedSeries
from covnode.chaos.small_disk import DiskRun, run_small_disk
from covnode.chaos.storm import CaseRun, Storm
from covnode.clock import utc_now

_NEEDLESS = "an object came twice, and nothing had happened that makes a sender repeat itself"


def certify(plan: Plan, around: Surroundings, tell: Callable[[CaseRun], None], *, postgresql: bool) -> Certificate:
    """Run a plan and judge what came of it.

    Parameters
    ----------
    tell
        Is told of each case that is over.
    postgresql
        On a server of its own in place of SQLite.

    Raises
    ------
    ConfigurationError
        PostgreSQL is not installed.
    CovnodeError
        The node does not start.
    """
    started_at = utc_now()
    database = PostgresqlDatabase(around.free_port()) if postgresql else None
    try:
        with Ground(around, around.folder / "storm", database) as ground:
            runs = tuple(Storm(ground, tell).run(plan))
            series = list(ground.modality.series)
            stored = [ground.pacs.of_study(one.study_uid) for one in series]
            in_flight = tuple(_in_flight(run, series, stored) for run in runs)
            excused = {
                number for run, there in zip(runs, in_flight, strict=True) if run.case.may_resend for number in there
            }
            fates = tuple(_without_excuse(ground.fate_of(one), excused) for one in series)
            stale_writes = tuple(ground.stale_writes)
            name = ground.database.name
    finally:
        if database is not None:
            database.close()
    disk: DiskRun | None = None
    if plan.small_disk:
        disk = run_small_disk(around.folder / "small-disk", partial(Ground, around))
    return Certificate(plan.name, name, started_at, utc_now(), runs, in_flight, fates, stale_writes, disk)


def _in_flight(
    run: CaseRun, series: Sequence[PushedSeries], stored: Sequence[Sequence[StoredObject]]
) -> tuple[int, ...]:
    """Return the numbers of the series that were on their way when the point was reached."""
    return tuple(
        one.number
        for one, objects in zip(series, stored, strict=True)
        if any(one.pushed_at_s <= firing.at_s <= _end_s(one, objects) for firing in run.firings)
    )


def _end_s(series: PushedSeries, objects: Sequence[StoredObject]) -> float:
    """Return when the last thing was seen of a series."""
    settled_s = math.inf if series.settled_at_s is None else series.settled_at_s
    return max((settled_s, *(item.at_s for item in objects)))


def _without_excuse(fate: SeriesFate, excused: set[int]) -> SeriesFate:
    """Call a series duplicated whose objects were sent again for no reason."""
    if fate.resent and fate.fate in GOOD and fate.number not in excused:
        return replace(fate, fate=Fate.DUPLICATED, reason=_NEEDLESS)
    return fate
