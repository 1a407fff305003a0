"""Open analyses and deliveries against the engine's jobs: our tables are the truth, so what is open must have a job."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, Job, JobKind, queue_name
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow, QueueRow


def job_of(row: AnalysisRow | DeliveryRow) -> Job:
    """Return the newest job of an analysis or a delivery, with what is left of its delay."""
    if isinstance(row, AnalysisRow):
        return Job(JobKind.ANALYSIS, row.analysis_id, row.enqueues, priority=row.priority)
    wait_s = (row.next_attempt_at - utc_now()).total_seconds() if row.next_attempt_at else 0.0
    job = Job(JobKind.DELIVERY, row.delivery_id, row.enqueues, row.destination, row.priority, max(0.0, wait_s))
    return replace(job, spool=row.spool)


def paused_queues(session: Session) -> set[str]:
    """Return the names of the queues of which nothing is claimed now."""
    return set(session.scalars(sa.select(QueueRow.name).where(QueueRow.paused_at.is_not(None))))


def _open(row: type[AnalysisRow | DeliveryRow], states: Sequence[str] = ()) -> sa.Select[Any]:
    """Return the query of what has not ended, is in no paused queue and waits for nothing, the most urgent first."""
    paused = sa.select(QueueRow.name).where(QueueRow.paused_at.is_not(None))
    query: sa.Select[Any]
    queue: sa.ColumnElement[str]
    if row is DeliveryRow:
        queue = queue_name(JobKind.DELIVERY, "") + DeliveryRow.destination
        query = sa.select(row).where(row.state.in_(states or OPEN_DELIVERIES), DeliveryRow.waits_for.is_(None))
    else:
        queue = sa.literal(queue_name(JobKind.ANALYSIS))
        query = sa.select(row).where(row.state.in_(states or OPEN_ANALYSES))
    return query.where(queue.not_in(paused)).order_by(row.priority, row.queued_at)


def open_jobs(session: Session, *states: str) -> list[Job]:
    """Return the newest job of what has not ended and is in no paused queue, the most urgent first.

    A delivery that waits has none, and the sender's watch gives it one in time.

    Parameters
    ----------
    states
        Only what is in one of these.
    """
    return [job_of(row) for each in (AnalysisRow, DeliveryRow) for row in session.scalars(_open(each, states))]


def lost_jobs(session: Session, holds: Callable[[sa.ColumnElement[str]], sa.ColumnElement[bool]]) -> list[Job]:
    """Return those of the open jobs that will not run, by one statement each for analyses and deliveries.

    A job is enqueued in the transaction of its row, and the row ends before the job does: so what one look finds open
    without a job has lost it.

    Parameters
    ----------
    holds
        As JobQueue.holds.
    """
    analysis = sa.literal(f"{JobKind.ANALYSIS}:") + AnalysisRow.analysis_id + _enqueues(AnalysisRow)
    delivery = sa.literal(f"{JobKind.DELIVERY}:") + DeliveryRow.delivery_id + _enqueues(DeliveryRow)
    ids: dict[type[AnalysisRow | DeliveryRow], sa.ColumnElement[str]] = {AnalysisRow: analysis, DeliveryRow: delivery}
    return [job_of(row) for each, job_id in ids.items() for row in session.scalars(_open(each).where(~holds(job_id)))]


def _enqueues(row: type[AnalysisRow | DeliveryRow]) -> sa.ColumnElement[str]:
    return sa.literal(":") + sa.cast(row.enqueues, sa.String)


def enqueue_again(session: Session, lost: Job) -> Job:
    """Return the next job of what lost its job; StaleClaim when it ended or somebody else was first."""
    if lost.kind == JobKind.ANALYSIS:
        row: type[AnalysisRow | DeliveryRow] = AnalysisRow
        which = sa.and_(AnalysisRow.analysis_id == lost.subject_id, AnalysisRow.state.in_(OPEN_ANALYSES))
    else:
        row = DeliveryRow
        which = sa.and_(
            DeliveryRow.delivery_id == lost.subject_id,
            DeliveryRow.state.in_(OPEN_DELIVERIES),
            DeliveryRow.waits_for.is_(None),
        )
    again = sa.update(row).where(which, row.enqueues == lost.enqueues).values(enqueues=row.enqueues + 1)
    guarded(session, again)
    return replace(lost, enqueues=lost.enqueues + 1)
