"""Open analyses and deliveries against the engine's jobs: our tables are the truth, so what is open must have a job."""

from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, Job, JobKind
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow


def open_jobs(session: Session) -> list[Job]:
    """Return the newest job of each analysis and delivery that has not ended, in the order of queueing."""
    analyses = session.scalars(
        sa.select(AnalysisRow).where(AnalysisRow.state.in_(OPEN_ANALYSES)).order_by(AnalysisRow.queued_at)
    )
    deliveries = session.scalars(
        sa.select(DeliveryRow).where(DeliveryRow.state.in_(OPEN_DELIVERIES)).order_by(DeliveryRow.queued_at)
    )
    return [
        *(Job(JobKind.ANALYSIS, row.analysis_id, row.enqueues, priority=row.priority) for row in analyses),
        *(Job(JobKind.DELIVERY, row.delivery_id, row.enqueues, row.destination, row.priority) for row in deliveries),
    ]


def enqueue_again(session: Session, lost: Job) -> Job:
    """Return the next job of what lost its job; StaleClaim when it ended or somebody else was first."""
    if lost.kind == JobKind.ANALYSIS:
        row: type[AnalysisRow | DeliveryRow] = AnalysisRow
        which = (AnalysisRow.analysis_id == lost.subject_id, AnalysisRow.state.in_(OPEN_ANALYSES))
    else:
        row = DeliveryRow
        which = (DeliveryRow.delivery_id == lost.subject_id, DeliveryRow.state.in_(OPEN_DELIVERIES))
    again = sa.update(row).where(*which, row.enqueues == lost.enqueues).values(enqueues=row.enqueues + 1)
    guarded(session, again)
    return replace(lost, enqueues=lost.enqueues + 1)
