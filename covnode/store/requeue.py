"""Open analyses and deliveries against the engine's jobs: our tables are the truth, so what is open must have a job."""

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, Job, JobKind
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


def open_jobs(session: Session, *states: str) -> list[Job]:
    """Return the newest job of what has not ended and is in no paused queue, the most urgent first.

    A delivery that waits has none, and the sender's watch gives it one in time.

    Parameters
    ----------
    states
        Only what is in one of these.
    """
    paused = paused_queues(session)
    jobs = []
    for row, open_states in ((AnalysisRow, OPEN_ANALYSES), (DeliveryRow, OPEN_DELIVERIES)):
        query: sa.Select[Any] = sa.select(row).where(row.state.in_(states or open_states))
        if row is DeliveryRow:
            query = query.where(DeliveryRow.waits_for.is_(None))
        query = query.order_by(row.priority, row.queued_at)
        jobs += [job_of(found) for found in session.scalars(query)]
    return [job for job in jobs if job.paused_by not in paused]


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
