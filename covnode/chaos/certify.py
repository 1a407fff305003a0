"""Runs a plan from its beginning to the certificate: the front door of the chaos, called by ``covnode chaos``."""

import contextlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

from covnode.chaos.certificate import Certificate
from covnode.chaos.databases import PostgresqlDatabase
from covnode.chaos.ground import Ground, Surroundings
from covnode.chaos.pacs import StoredObject
from covnode.chaos.plan import NodePlan, Plan
from covnode.chaos.points import Need
from covnode.chaos.proof import GOOD, Fate, SeriesFate
from covnode.chaos.pushes import PushedSeries
from covnode.chaos.small_disk import run_small_disk
from covnode.chaos.storm import CaseRun, Storm
from covnode.clock import utc_now

# Each takes about 0.7 GB of memory.
_NODES_AT_A_TIME = 5
_NEEDLESS = "an object came twice, and nothing had happened that makes a sender repeat itself"


@dataclass(frozen=True)
class _Seen:
    """What was seen of one node."""

    database: str
    runs: tuple[CaseRun, ...]
    in_flight: tuple[tuple[int, ...], ...]
    fates: tuple[SeriesFate, ...]
    stale_writes: tuple[str, ...]


def certify(plan: Plan, around: Surroundings, tell: Callable[[CaseRun], None], *, postgresql: bool) -> Certificate:
    """Run a plan and judge what came of it.

    Parameters
    ----------
    tell
        Is told of each case that is over.
    postgresql
        Each node on a server of its own in place of SQLite.

    Raises
    ------
    ConfigurationError
        PostgreSQL is not installed.
    CovnodeError
        A node does not start.
    """
    started_at = utc_now()
    with contextlib.ExitStack() as databases, ThreadPoolExecutor(_NODES_AT_A_TIME) as pool:
        grounds = []
        for node in plan.nodes:
            database = PostgresqlDatabase(around.free_port()) if postgresql else None
            if database is not None:
                databases.callback(database.close)
            stow = any(case.point.need is Need.STOW for case in node.cases)
            grounds.append(Ground(around, around.folder / node.name, database, stow=stow))
        small = Ground(around, around.folder / "small-disk")
        try:
            disk = pool.submit(run_small_disk, small) if plan.small_disk else None
            nodes = [
                pool.submit(_run_node, ground, node, tell) for ground, node in zip(grounds, plan.nodes, strict=True)
            ]
            every: list[Future[Any]] = [*nodes, *([] if disk is None else [disk])]
            for done in as_completed(every):
                done.result()  # raises at once what went wrong in any
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for ground in (*grounds, small):
                ground.stopping.set()
            raise
    seen = [node.result() for node in nodes]
    return Certificate(
        plan.name,
        seen[0].database,
        started_at,
        utc_now(),
        runs=tuple(run for node in seen for run in node.runs),
        in_flight=tuple(there for node in seen for there in node.in_flight),
        fates=tuple(sorted((fate for node in seen for fate in node.fates), key=lambda fate: fate.number)),
        stale_writes=tuple(line for node in seen for line in node.stale_writes),
        small_disk=None if disk is None else disk.result(),
    )


def _run_node(ground: Ground, plan: NodePlan, tell: Callable[[CaseRun], None]) -> _Seen:
    with ground:
        runs = tuple(Storm(ground, plan, tell).run())
        series = list(ground.modality.series)
        stored = [ground.pacs.of_study(one.study_uid) for one in series]
        in_flight = tuple(_in_flight(run, series, stored) for run in runs)
        excused = {
            number for run, there in zip(runs, in_flight, strict=True) if run.case.may_resend for number in there
        }
        fates = tuple(_without_excuse(ground.fate_of(one), excused) for one in series)
        return _Seen(ground.database.name, runs, in_flight, fates, tuple(ground.stale_writes))


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
