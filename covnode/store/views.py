"""What the command line shows: rows for people, under our own ids."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from covnode.clock import utc_now
from covnode.records.job import (
    PARKED_DELIVERIES,
    AnalysisState,
    DeliveryState,
    JobKind,
    Priority,
    SeriesState,
    queue_name,
)
from covnode.store.requeue import paused_queues
from covnode.store.tables import AnalysisRow, Base, DeliveredObjectRow, DeliveryRow, InstanceRow, SeriesRow

_ON_ITS_WAY = (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN)


def _columns(row: Base, *left_out: str) -> dict[str, Any]:
    return {
        column.key: getattr(row, column.key) for column in sa.inspect(type(row)).columns if column.key not in left_out
    }


def list_series(session: Session, limit: int | None = None) -> list[dict[str, Any]]:
    """Return a row a series, newest first, in the state that matters to a person; at most ``limit`` of them."""
    newest = sa.select(SeriesRow).order_by(SeriesRow.received_at.desc()).limit(limit).subquery()
    series = aliased(SeriesRow, newest)
    later = aliased(AnalysisRow)
    is_latest = sa.and_(
        AnalysisRow.series_id == series.series_id,
        ~sa.exists().where(later.series_id == AnalysisRow.series_id, later.revision > AnalysisRow.revision),
    )
    has_own_word = sa.and_(series.state == SeriesState.HANDED_OVER, AnalysisRow.state.is_not(None))
    query = (
        sa.select(
            series.series_id,
            sa.case((has_own_word, AnalysisRow.state), else_=series.state).label("state"),
            series.instance_count.label("instances"),
            series.revision,
            series.received_at,
            series.source_ae_title.label("from"),
            sa.func.coalesce(series.reason, AnalysisRow.reason).label("reason"),
        )
        .outerjoin(AnalysisRow, is_latest)
        .order_by(series.received_at.desc())
    )
    return [dict(row) for row in session.execute(query).mappings()]


def show_series(session: Session, series_id: str) -> dict[str, Any] | None:
    """Return one series: why it counts as complete, its analyses and their deliveries."""
    series = session.get(SeriesRow, series_id)
    if series is None:
        return None
    analyses = session.scalars(
        sa.select(AnalysisRow).where(AnalysisRow.series_id == series_id).order_by(AnalysisRow.revision)
    )
    return {
        **_columns(series, "series_digest", "score_sheet"),
        "score": (series.score_sheet or {}).get("total"),
        **_instances_apart(session, series_id),
        "analyses": [show_job(session, row.analysis_id) for row in analyses],
    }


def _instances_apart(session: Session, series_id: str) -> dict[str, int]:
    """Count the instances that are kept but are not what a sender would call one more slice."""
    rows, distinct, ignored = session.execute(
        sa.select(
            sa.func.count(),
            sa.func.count(sa.distinct(InstanceRow.sop_digest)),
            sa.func.count().filter(InstanceRow.ignored.is_(sa.true())),
        ).where(InstanceRow.series_id == series_id)
    ).one()
    return {"same_uid_other_content": rows - distinct, "late_and_ignored": ignored}


def standing(session: Session, watchdog_s: float) -> dict[str, int]:
    """Count the series that a person may want to know of.

    Returns
    -------
    dict
        receiving: not complete; complete: wait for the choice; chosen: wait for the intake; stuck: in one of these
        states for longer than the watchdog allows; quarantined: wait for a person; closed_by_force: the watchdog
        closed them within the last day.
    """
    now = utc_now()
    on_its_way = {state: sa.and_(SeriesRow.state == state, SeriesRow.instance_count > 0) for state in _ON_ITS_WAY}
    by_force = SeriesRow.evidence["rule"].as_string() == "watchdog"
    questions = {
        **{str(state): question for state, question in on_its_way.items()},
        "stuck": sa.and_(sa.or_(*on_its_way.values()), SeriesRow.state_at < now - timedelta(seconds=watchdog_s)),
        "quarantined": SeriesRow.state == SeriesState.QUARANTINED,
        "closed_by_force": sa.and_(by_force, SeriesRow.last_instance_at > now - timedelta(days=1)),
    }
    counts = session.execute(sa.select(*[sa.func.count().filter(question) for question in questions.values()])).one()
    return dict(zip(questions, counts, strict=True))


def list_jobs(session: Session, limit: int | None = None, *, dead: bool = False) -> list[dict[str, Any]]:
    """Return a row an analysis or delivery, newest first; ``paused``: queued in such a queue.

    Parameters
    ----------
    limit
        Only so many.
    dead
        Only dead letters, which wait for a person.
    """
    newest_analyses = sa.select(AnalysisRow).order_by(AnalysisRow.queued_at.desc()).limit(limit)
    newest_deliveries = sa.select(DeliveryRow).order_by(DeliveryRow.queued_at.desc()).limit(limit)
    if dead:
        newest_analyses = newest_analyses.where(AnalysisRow.state == AnalysisState.FAILED)
        newest_deliveries = newest_deliveries.where(DeliveryRow.state.in_(PARKED_DELIVERIES))
    paused = paused_queues(session)
    rows = [
        {
            "job_id": row.analysis_id,
            "kind": "analysis",
            "of": row.series_id,
            "state": row.state,
            "priority": Priority(row.priority).word,
            "paused": row.state == AnalysisState.QUEUED and queue_name(JobKind.ANALYSIS) in paused,
            "progress": f"{row.progress_percent} %",
            "attempts": row.attempts,
            "queued_at": row.queued_at,
            "reason": row.reason,
        }
        for row in session.scalars(newest_analyses)
    ]
    rows += [
        {
            "job_id": row.delivery_id,
            "kind": f"delivery to {row.destination}",
            "of": row.analysis_id,
            "state": row.state,
            "priority": Priority(row.priority).word,
            "paused": row.state == DeliveryState.QUEUED and queue_name(JobKind.DELIVERY, row.destination) in paused,
            "progress": None,
            "attempts": row.attempts,
            "queued_at": row.queued_at,
            "reason": row.reason,
        }
        for row in session.scalars(newest_deliveries)
    ]
    return sorted(rows, key=lambda row: str(row["queued_at"]), reverse=True)[:limit]


def show_job(session: Session, job_id: str) -> dict[str, Any] | None:
    """Return one analysis with its deliveries, or one delivery with its objects."""
    analysis = session.get(AnalysisRow, job_id)
    if analysis is not None:
        deliveries = session.scalars(sa.select(DeliveryRow.delivery_id).where(DeliveryRow.analysis_id == job_id))
        return {**_job_columns(analysis), "deliveries": [show_job(session, delivery_id) for delivery_id in deliveries]}
    delivery = session.get(DeliveryRow, job_id)
    if delivery is None:
        return None
    objects = session.scalars(sa.select(DeliveredObjectRow).where(DeliveredObjectRow.delivery_id == job_id))
    return {**_job_columns(delivery), "objects": [_columns(row, "delivery_id") for row in objects]}


def _job_columns(row: AnalysisRow | DeliveryRow) -> dict[str, Any]:
    host = row.executor_id.partition(":")[0] if row.executor_id else None
    return {**_columns(row), "priority": Priority(row.priority).word, "host": host}
