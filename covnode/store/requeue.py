"""Open analyses and deliveries against the engine's jobs: our tables are the truth, so what is open must have a job."""

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, Job, JobKind
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow

_ROWS: dict[JobKind, type[AnalysisRow] | type[DeliveryRow]] = {
    JobKind.ANALYSIS: AnalysisRow,
    JobKind.DELIVERY: DeliveryRow,
}
_KEYS: dict[JobKind, InstrumentedAttribute[str]] = {
    JobKind.ANALYSIS: AnalysisRow.analysis_id,
    JobKind.DELIVERY: DeliveryRow.delivery_id,
}
_OPEN: dict[JobKind, tuple[str, ...]] = {JobKind.ANALYSIS: OPEN_ANALYSES, JobKind.DELIVERY: OPEN_DELIVERIES}


def open_jobs(session: Session) -> list[Job]:
    """Return the newest job of each analysis and delivery that has not ended."""
    return [
        Job(kind, subject_id, enqueues)
        for kind, row in _ROWS.items()
        for subject_id, enqueues in session.execute(
            sa.select(_KEYS[kind], row.enqueues).where(row.state.in_(_OPEN[kind]))
        )
    ]


def enqueue_again(session: Session, lost: Job) -> Job:
    """Return the next job of what lost its job; StaleClaim when it ended or somebody else was first."""
    row = _ROWS[lost.kind]
    guarded(
        session,
        sa.update(row)
        .where(_KEYS[lost.kind] == lost.subject_id, row.enqueues == lost.enqueues, row.state.in_(_OPEN[lost.kind]))
        .values(enqueues=row.enqueues + 1),
    )
    return Job(lost.kind, lost.subject_id, lost.enqueues + 1)
