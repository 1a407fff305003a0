"""What the command line shows: rows for people, under our own ids."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.records.job import SeriesState
from covnode.store.tables import AnalysisRow, Base, DeliveredObjectRow, DeliveryRow, SeriesRow


def _columns(row: Base, *left_out: str) -> dict[str, Any]:
    return {
        column.key: getattr(row, column.key) for column in sa.inspect(type(row)).columns if column.key not in left_out
    }


def _state_of(series: SeriesRow, analysis: AnalysisRow | None) -> str:
    if series.state != SeriesState.HANDED_OVER or analysis is None:
        return series.state
    return analysis.state


def _latest_analysis(session: Session, series_id: str) -> AnalysisRow | None:
    query = sa.select(AnalysisRow).where(AnalysisRow.series_id == series_id)
    return session.scalars(query.order_by(AnalysisRow.revision.desc()).limit(1)).first()


def list_series(session: Session) -> list[dict[str, Any]]:
    """Return a row a series, newest first, in the state that matters to a person."""
    rows = []
    for series in session.scalars(sa.select(SeriesRow).order_by(SeriesRow.received_at.desc())):
        analysis = _latest_analysis(session, series.series_id)
        rows.append(
            {
                "series_id": series.series_id,
                "state": _state_of(series, analysis),
                "instances": series.instance_count,
                "revision": series.revision,
                "received_at": series.received_at,
                "from": series.source_ae_title,
                "reason": series.reason or (analysis.reason if analysis else None),
            }
        )
    return rows


def show_series(session: Session, series_id: str) -> dict[str, Any] | None:
    """Return one series with its analyses and their deliveries."""
    series = session.get(SeriesRow, series_id)
    if series is None:
        return None
    analyses = session.scalars(
        sa.select(AnalysisRow).where(AnalysisRow.series_id == series_id).order_by(AnalysisRow.revision)
    )
    return {
        **_columns(series, "series_digest"),
        "analyses": [show_job(session, row.analysis_id) for row in analyses],
    }


def list_jobs(session: Session) -> list[dict[str, Any]]:
    """Return a row an analysis or delivery, newest first."""
    rows = [
        {
            "job_id": row.analysis_id,
            "kind": "analysis",
            "of": row.series_id,
            "state": row.state,
            "progress": f"{row.progress_percent} %",
            "attempts": row.attempts,
            "queued_at": row.queued_at,
            "reason": row.reason,
        }
        for row in session.scalars(sa.select(AnalysisRow))
    ]
    rows += [
        {
            "job_id": row.delivery_id,
            "kind": f"delivery to {row.destination}",
            "of": row.analysis_id,
            "state": row.state,
            "progress": None,
            "attempts": row.attempts,
            "queued_at": row.queued_at,
            "reason": row.reason,
        }
        for row in session.scalars(sa.select(DeliveryRow))
    ]
    return sorted(rows, key=lambda row: str(row["queued_at"]), reverse=True)


def show_job(session: Session, job_id: str) -> dict[str, Any] | None:
    """Return one analysis with its deliveries, or one delivery with its objects."""
    analysis = session.get(AnalysisRow, job_id)
    if analysis is not None:
        deliveries = session.scalars(sa.select(DeliveryRow.delivery_id).where(DeliveryRow.analysis_id == job_id))
        return {**_columns(analysis), "deliveries": [show_job(session, delivery_id) for delivery_id in deliveries]}
    delivery = session.get(DeliveryRow, job_id)
    if delivery is None:
        return None
    objects = session.scalars(sa.select(DeliveredObjectRow).where(DeliveredObjectRow.delivery_id == job_id))
    return {**_columns(delivery), "objects": [_columns(row, "delivery_id") for row in objects]}
