"""What the queue costs a job, and whether that stays so when ten thousand wait and a million have ended.

Run by ``make bench-queue``, on SQLite and on a PostgreSQL server of its own. A job here does what every job does but
for the analysis itself: it is enqueued in the transaction that opens its analysis, claimed, and ended in our tables.
The rows that are there already are copies of one job that ran and one that waits. Few (1,000 ended, 200 waiting) and
many (1,000,000 and 10,000) are measured in one run; while urgent jobs are measured, what waits is worked off.
"""

import argparse
import itertools
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
from figures import machine, spread
from sqlalchemy.orm import Session

from covnode.chaos.postgresql import PostgresqlServer
from covnode.cli.local_node import free_port
from covnode.clock import utc_now
from covnode.queue.engine import DbosQueue, DbosRunner, migrate_engine
from covnode.records.job import AnalysisState, Job, JobKind, Priority, SeriesState, queue_name
from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, requeue, views
from covnode.store.engine import make_engine, upgrade
from covnode.store.sessions import Transaction, transactions
from covnode.store.tables import AnalysisRow, SeriesRow

_EXECUTOR = "bench:worker-0"
_KIND = JobKind.ANALYSIS
_LIST = 100
_AT_MOST = 2.0
_LOOKS = 5
_WAIT_S = 120.0
_MEANING = {
    "enqueue": "open and enqueue an urgent job",
    "start": "from its commit to its begin, which waits for the engine's next look (every 100 ms)",
    "per_job": "a job after the other, from what waits",
    "claim": "claim in our tables",
    "list_jobs": f"the {_LIST} newest jobs",
    "list_series": f"the {_LIST} newest series",
    "look_for_lost": "look for open rows without a job (every 10 s)",
}
_FLAT = ("start", "per_job", "claim", "list_jobs", "list_series")


@dataclass(frozen=True)
class Amount:
    """How many jobs there are already."""

    ended: int
    waiting: int


_FEW = Amount(1_000, 200)


@dataclass
class Handler:
    """Does what a worker does around an analysis, and remembers when each job began."""

    transaction: Transaction
    began_s: dict[str, float] = field(default_factory=dict)
    claim_ms: list[float] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, analysis_id: str, enqueues: int) -> None:
        """Claim the analysis and end it."""
        began_s = time.perf_counter()
        with self.transaction() as session:
            claim = analyses.claim(session, analysis_id, enqueues, _EXECUTOR)
        claimed_s = time.perf_counter()
        if claim is None:
            raise RuntimeError(f"{analysis_id} could not be claimed")
        with self.transaction() as session:
            analyses.mark_ended(session, claim, AnalysisState.NOT_ANALYSED, "benchmark", "nothing to analyse")
        with self.changed:
            self.began_s[analysis_id] = began_s
            self.claim_ms.append(1000 * (claimed_s - began_s))
            self.changed.notify_all()

    def began(self, analysis_id: str) -> float:
        """Return when a job began, once it has ended; TimeoutError when it does not."""
        with self.changed:
            if not self.changed.wait_for(lambda: analysis_id in self.began_s, _WAIT_S):
                raise TimeoutError(f"{analysis_id} did not run")
            return self.began_s[analysis_id]


class Bench:
    """A database, and the queue on it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count()
        self.engine = make_engine(url)
        upgrade(self.engine)
        migrate_engine(url)
        self.transaction = transactions(self.engine)
        self._queue = DbosQueue(self.engine)

    def enqueue(self, priority: Priority) -> Job:
        """Open an analysis and enqueue it, in one transaction."""
        now = utc_now()
        series_id = f"ser-{next(self._numbers)}"
        with self.transaction() as session:
            session.add(
                SeriesRow(
                    series_id=series_id,
                    series_digest=f"digest of {series_id}",
                    state=SeriesState.HANDED_OVER,
                    revision=1,
                    received_at=now,
                    last_instance_at=now,
                    state_at=now,
                    source_ae_title="BENCH",
                )
            )
            session.flush()
            opened = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
            job = replace(opened, priority=priority)
            session.get_one(AnalysisRow, job.subject_id).priority = priority
            self._queue.enqueue(session, job)
        return job

    @contextmanager
    def running(self) -> Iterator[Handler]:
        """Run jobs in this process."""
        handler = Handler(self.transaction)
        runner = DbosRunner(self._url, _KIND, _EXECUTOR, 1, [queue_name(_KIND)])
        runner.start(handler)
        try:
            yield handler
        finally:
            runner.stop(10)

    def fill(self, amount: Amount) -> None:
        """Make the rows that are there already."""
        ended = self.enqueue(Priority.ROUTINE)
        with self.running() as handler:
            handler.began(ended.subject_id)
        waiting = self.enqueue(Priority.BACKGROUND)
        self._copy(ended, amount.ended - 1)
        self._copy(waiting, amount.waiting - 1)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))

    def _copy(self, job: Job, count: int) -> None:
        """Copy all that our tables and the engine's hold of a job, under ids that end with a number."""
        engines = "workflow_status" if self.engine.dialect.name == "sqlite" else "dbos.workflow_status"
        analysis_id = job.subject_id
        with self.transaction() as session:
            series_id = session.get_one(AnalysisRow, analysis_id).series_id
        # Per table: the row, and which columns hold which id.
        copies: list[tuple[str, str, str, dict[str, str]]] = [
            ("series", "series_id", series_id, {"series_id": series_id, "series_digest": series_id}),
            ("analyses", "analysis_id", analysis_id, {"analysis_id": analysis_id, "series_id": series_id}),
            (engines, "workflow_uuid", job.job_id, {"workflow_uuid": analysis_id, "inputs": analysis_id}),
        ]
        with self.engine.begin() as connection:
            for table, key, value, ids in copies:
                columns = self._columns(table)
                copied = [
                    f"replace(t.{name}, '{ids[name]}', '{ids[name]}-' || n.n)" if name in ids else f"t.{name}"
                    for name in columns
                ]
                statement = (
                    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :count) "  # noqa: S608 (names, ids: ours)
                    f"INSERT INTO {table} ({', '.join(columns)}) "
                    f"SELECT {', '.join(copied)} FROM n CROSS JOIN {table} t WHERE t.{key} = :value"
                )
                connection.execute(sa.text(statement), {"count": count, "value": value})

    def _columns(self, table: str) -> list[str]:
        schema, _, name = table.rpartition(".")
        return [column["name"] for column in sa.inspect(self.engine).get_columns(name, schema=schema or None)]

    def measure(self, rounds: int) -> dict[str, list[float]]:
        """Return what was measured, in ms: see `_MEANING`."""
        enqueue, start = [], []
        with self.running() as handler:
            began_s = time.perf_counter()
            for _ in range(rounds):
                asked_s = time.perf_counter()
                job = self.enqueue(Priority.STAT)
                enqueued_s = time.perf_counter()
                start.append(1000 * (handler.began(job.subject_id) - enqueued_s))
                enqueue.append(1000 * (enqueued_s - asked_s))
            per_job_ms = 1000 * (time.perf_counter() - began_s) / len(handler.began_s)
        return {
            "enqueue": enqueue,
            "start": start,
            "per_job": [per_job_ms],
            "claim": handler.claim_ms,
            "list_jobs": self._timed(lambda session: views.list_jobs(session, _LIST), rounds),
            "list_series": self._timed(lambda session: views.list_series(session, _LIST), rounds),
            "look_for_lost": self._timed(lambda session: requeue.lost_jobs(session, self._queue.holds), _LOOKS),
        }

    def _timed(self, look: Callable[[Session], object], rounds: int) -> list[float]:
        taken = []
        for _ in range(rounds):
            began_s = time.perf_counter()
            with self.transaction() as session:
                look(session)
            taken.append(1000 * (time.perf_counter() - began_s))
        return taken


def report(database: str, few: dict[str, list[float]], many: dict[str, list[float]]) -> tuple[bool, list[str]]:
    """Print both columns; return whether what must stay flat does, and the lines that end the report."""
    print(f"\n{database}: median (least to most) in ms, with few rows and with many")
    for name, meaning in _MEANING.items():
        print(f"  {meaning}: {spread(few[name], 1)}; {spread(many[name], 1)}")
    lines, flat = [], True
    for name in _FLAT:
        ratio = statistics.median(many[name]) / statistics.median(few[name])
        flat &= ratio <= _AT_MOST
        lines.append(f"{database}_{name}_many_to_few: {ratio:.2f} x (goal <= {_AT_MOST:g})")
    lines += [f"{database}_{name}: {statistics.median(many[name]):.1f} ms" for name in ("start", "per_job")]
    return flat, lines


def measured(url_of: Callable[[str], str], rounds: int, amounts: dict[str, Amount]) -> list[dict[str, list[float]]]:
    """Measure a new database for each amount."""
    figures = []
    for name, amount in amounts.items():
        bench = Bench(url_of(name))
        began_s = time.perf_counter()
        bench.fill(amount)
        print(f"{name}: {amount.ended} ended, {amount.waiting} waiting, made in {time.perf_counter() - began_s:.0f} s")
        figures.append(bench.measure(rounds))
        bench.engine.dispose()
    return figures


def main() -> int:
    """Measure both databases and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="urgent jobs, and looks at each list")
    parser.add_argument("--ended", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=10_000)
    arguments = parser.parse_args()
    amounts = {"few": _FEW, "many": Amount(arguments.ended, arguments.waiting)}
    server = PostgresqlServer(free_port())
    server.start()
    print(machine(f"SQLite {sqlite3.sqlite_version}, PostgreSQL {server.version}"), flush=True)
    flat, lines = True, []
    try:
        with tempfile.TemporaryDirectory(prefix="covnode-bench-") as folder:
            urls = {"sqlite": lambda name: f"sqlite:///{folder}/{name}.db", "postgresql": server.create_database}
            for database, url_of in urls.items():
                is_flat, of_database = report(database, *measured(url_of, arguments.rounds, amounts))
                flat &= is_flat
                lines += of_database
    finally:
        server.stop()
        server.remove()
    print("\n" + "\n".join(lines))
    return int(not flat)


if __name__ == "__main__":
    sys.exit(main())
