"""What keeps a queued delivery from being sent: an earlier one of its study, an away destination, or another suspect.

Deliveries of one study to one destination leave in the order in which they were queued. One waits while an earlier one
is on its way or to be tried again; an earlier one that has ended, dead letters among them, holds up nobody, nor does
one that the destination could not store for too long. Who waits has no job, so that waiting costs no attempt and no row
of the engine; the sender's watch calls ``release``.
"""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import OPEN_DELIVERIES, DeliveryState, Job, JobKind, WaitsFor
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow, DestinationRow, SeriesRow

GAVE_UP = "gave_up"
"""The reason code of a delivery that failed or waited for too long."""


def earlier_of_study() -> sa.Select[Any]:
    """Return the query of what stands before the delivery of the query around it."""
    earlier, its_analysis, its_series = aliased(DeliveryRow), aliased(AnalysisRow), aliased(SeriesRow)
    study_id = sa.select(SeriesRow.study_id).join(AnalysisRow).where(AnalysisRow.analysis_id == DeliveryRow.analysis_id)
    return (
        sa.select(earlier.delivery_id)
        .join(its_analysis, its_analysis.analysis_id == earlier.analysis_id)
        .join(its_series, its_series.series_id == its_analysis.series_id)
        .where(
            its_series.study_id == study_id.correlate(DeliveryRow).scalar_subquery(),
            earlier.destination == DeliveryRow.destination,
            earlier.state.in_(OPEN_DELIVERIES),
            earlier.lets_pass.is_(sa.false()),
            sa.tuple_(earlier.queued_at, earlier.delivery_id)
            < sa.tuple_(DeliveryRow.queued_at, DeliveryRow.delivery_id),
        )
        .order_by(earlier.queued_at)
        .limit(1)
        .correlate(DeliveryRow)
    )


def another_suspect() -> sa.Select[Any]:
    """Return the query of what is sent now and a sender died of, other than the delivery of the query around it.

    Whatever a sender has on its way dies with it: sent one at a time, each is soon known to be the cause or not.
    """
    other = aliased(DeliveryRow)
    return (
        sa.select(other.delivery_id)
        .where(other.state == DeliveryState.SENDING, other.crashes > 0, other.delivery_id != DeliveryRow.delivery_id)
        .correlate(DeliveryRow)
    )


def release(session: Session, most: int) -> list[Job]:
    """Queue again what has nothing to wait for any more, the earliest first, and return the jobs, ``most`` of them."""
    row = DeliveryRow
    away = sa.select(DestinationRow.destination).where(DestinationRow.away_since.is_not(None))
    free = sa.or_(
        sa.and_(row.waits_for == WaitsFor.DESTINATION, row.destination.not_in(away)),
        sa.and_(row.waits_for == WaitsFor.STUDY, ~earlier_of_study().exists()),
        sa.and_(row.waits_for == WaitsFor.SUSPECT, ~another_suspect().exists()),
    )
    waited = sa.select(row.delivery_id, row.enqueues, row.destination, row.priority, row.spool)
    query = waited.where(row.state == DeliveryState.QUEUED, free).order_by(row.queued_at, row.delivery_id).limit(most)
    jobs = []
    for delivery_id, enqueues, destination, priority, spool in session.execute(query).all():
        still = (row.delivery_id == delivery_id, row.enqueues == enqueues, row.waits_for.is_not(None))
        again = {"enqueues": enqueues + 1, "waits_for": None, "reason_code": None, "reason": None}
        try:
            guarded(session, sa.update(row).where(*still).values(again))
        except StaleClaim:
            continue  # another sender was first
        jobs.append(Job(JobKind.DELIVERY, delivery_id, enqueues + 1, destination, priority, spool=spool))
    return jobs


def hurry(session: Session, destination: str) -> None:
    """Have what was postponed tried now: ``release`` queues it, and the job that was to come later is void."""
    row = DeliveryRow
    session.execute(
        sa.update(row)
        .where(row.destination == destination, row.state == DeliveryState.QUEUED, row.next_attempt_at.is_not(None))
        .values(waits_for=WaitsFor.DESTINATION, next_attempt_at=None)
    )


def give_up_waiting(session: Session, longer_than_s: float) -> list[str]:
    """Park what has waited for an away destination for that long, and return the deliveries."""
    row, now = DeliveryRow, utc_now()
    too_long = (
        row.state == DeliveryState.QUEUED,
        row.waits_for == WaitsFor.DESTINATION,
        row.state_at < now - timedelta(seconds=longer_than_s),
    )
    parked = sa.update(row).where(*too_long).returning(row.delivery_id)
    reason = row.destination + f" was away for {longer_than_s / 3600:.0f} h"
    values = {"state": DeliveryState.FAILED, "state_at": now, "waits_for": None, "reason_code": GAVE_UP}
    return list(session.scalars(parked.values(**values, reason=reason)))
