"""What people and urgent studies change in jobs that are under way: priority and cancellation.

A change of priority is a new enqueue: it raises the count, and the job of before is void.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, AnalysisState, DeliveryState, Job, Priority
from covnode.store.requeue import job_of
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow, StudyRow

_Row = type[AnalysisRow] | type[DeliveryRow]


def _row_of(job_id: str) -> tuple[_Row, sa.ColumnElement[bool]]:
    if job_id.startswith("del-"):
        return DeliveryRow, DeliveryRow.delivery_id == job_id
    return AnalysisRow, AnalysisRow.analysis_id == job_id


def prioritise(session: Session, job_id: str, priority: Priority) -> Job:
    """Give a queued analysis or delivery another priority and return its new job; StaleClaim: it is not queued."""
    row, is_it = _row_of(job_id)
    queued = sa.update(row).where(is_it, row.state == AnalysisState.QUEUED)
    jobs = _changed(session, queued.values(priority=priority, enqueues=row.enqueues + 1).returning(row))
    if not jobs:
        raise StaleClaim("the job is not queued")
    return jobs[0]


def cancel(session: Session, job_id: str, reason: str) -> None:
    """End a queued or running analysis, or a queued delivery; StaleClaim: it is in no such state.

    Whoever works on the analysis has lost its claim by this, and sees it at its next look.
    """
    row, is_it = _row_of(job_id)
    states = OPEN_ANALYSES if row is AnalysisRow else (DeliveryState.QUEUED,)
    open_one = sa.update(row).where(is_it, row.state.in_(states))
    values = {"state": AnalysisState.CANCELLED, "reason_code": "cancelled", "reason": reason}
    guarded(session, open_one.values(state_at=utc_now(), **values))


def hurry(session: Session, which: sa.ColumnElement[bool]) -> list[Job]:
    """Make studies STAT that were not, raise what is open of them, and return the new jobs of what is queued."""
    late = sa.update(StudyRow).where(which, StudyRow.stat.is_(sa.false())).values(stat=True)
    study_ids = session.scalars(late.returning(StudyRow.study_id)).all()
    if not study_ids:
        return []
    of_them = (
        sa.select(AnalysisRow.analysis_id)
        .join(SeriesRow, SeriesRow.series_id == AnalysisRow.series_id)
        .where(SeriesRow.study_id.in_(study_ids))
    )
    return [
        *_raise(session, DeliveryRow, DeliveryRow.analysis_id.in_(of_them), OPEN_DELIVERIES),
        *_raise(session, AnalysisRow, AnalysisRow.analysis_id.in_(of_them), OPEN_ANALYSES),
    ]


def _raise(session: Session, row: _Row, which: sa.ColumnElement[bool], states: tuple[Any, ...]) -> list[Job]:
    queued = row.state == AnalysisState.QUEUED
    less_urgent = sa.update(row).where(which, row.state.in_(states), row.priority > Priority.STAT)
    raised = less_urgent.values(
        priority=Priority.STAT, enqueues=sa.case((queued, row.enqueues + 1), else_=row.enqueues)
    )
    return _changed(session, raised.returning(row))


def _changed(session: Session, statement: sa.Executable) -> list[Job]:
    """Run an update that returns its rows, and return the jobs of those that are queued."""
    rows = session.scalars(statement, execution_options={"populate_existing": True}).all()
    return [job_of(row) for row in rows if row.state == AnalysisState.QUEUED]
