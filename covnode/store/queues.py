"""Queues that a person can pause: nothing of a paused queue is claimed, and what waits in it stays queued.

A claim holds the queue's row until it is committed, so a pause waits for claims that are under way, and after it none
follows. While a queue is paused its jobs end as void; a resume enqueues what waits once more.
"""

import contextlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, AnalysisState, Job, JobKind, queue_name
from covnode.store import requeue
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow, QueueRow


def register(session: Session, names: Iterable[str]) -> None:
    """Make rows of the queues that have none: only a row that is there can be held."""
    known = set(session.scalars(sa.select(QueueRow.name)))
    session.add_all(QueueRow(name=name) for name in sorted(set(names) - known))


def is_paused(session: Session, name: str) -> sa.ColumnElement[bool]:
    """Return the condition that the queue is paused, for the statement that claims; hold its row until the commit.

    SQLite holds the whole database from the first statement that writes on, so there the condition alone is enough.
    """
    session.execute(sa.select(QueueRow.name).where(QueueRow.name == name).with_for_update(read=True))
    return sa.exists().where(QueueRow.name == name, QueueRow.paused_at.is_not(None))


def pause(session: Session, name: str, reason: str | None) -> None:
    """Have nothing of the queue claimed from now on; StaleClaim when it is paused already."""
    register(session, [name])
    session.flush()
    unpaused = sa.update(QueueRow).where(QueueRow.name == name, QueueRow.paused_at.is_(None))
    guarded(session, unpaused.values(paused_at=utc_now(), reason=reason))


def resume(session: Session, name: str) -> list[Job]:
    """Let the queue go on and return new jobs of all that waits, the most urgent first; StaleClaim: not paused."""
    paused = sa.update(QueueRow).where(QueueRow.name == name, QueueRow.paused_at.is_not(None))
    guarded(session, paused.values(paused_at=None, reason=None))
    jobs = []
    for waiting in requeue.open_jobs(session, AnalysisState.QUEUED):
        # What a person moves on at the same time has its own new job, or needs none.
        with contextlib.suppress(StaleClaim):
            if waiting.paused_by == name:
                jobs.append(requeue.enqueue_again(session, waiting))
    return jobs


def overview(session: Session, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return a row a queue: those of ``names`` and all that are known or hold something."""
    rows = {row.name: row for row in session.scalars(sa.select(QueueRow))}
    counts: dict[str, dict[str, int]] = {}
    analyses = sa.select(AnalysisRow.state, sa.func.count()).where(AnalysisRow.state.in_(OPEN_ANALYSES))
    for state, count in session.execute(analyses.group_by(AnalysisRow.state)):
        counts.setdefault(queue_name(JobKind.ANALYSIS), {})[state] = count
    of_each = (DeliveryRow.destination, DeliveryRow.state)
    deliveries = sa.select(*of_each, sa.func.count()).where(DeliveryRow.state.in_(OPEN_DELIVERIES))
    for destination, state, count in session.execute(deliveries.group_by(*of_each)):
        counts.setdefault(queue_name(JobKind.DELIVERY, destination), {})[state] = count
    return [
        {
            "queue": name,
            "state": "open" if name not in rows or rows[name].paused_at is None else "paused",
            "queued": counts.get(name, {}).pop(AnalysisState.QUEUED, 0),
            "at_work": sum(counts.get(name, {}).values()),
            "paused_at": rows[name].paused_at if name in rows else None,
            "reason": rows[name].reason if name in rows else None,
        }
        for name in sorted(rows.keys() | counts.keys() | set(names))
    ]
