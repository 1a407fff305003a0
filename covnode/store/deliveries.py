"""Deliveries: one analysis to one destination, with the send state of each object."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import OPEN_DELIVERIES, DeliveryClaim, DeliveryState, Job, JobKind
from covnode.store.sessions import guarded, new_id
from covnode.store.tables import AnalysisRow, DeliveredObjectRow, DeliveryRow, SeriesRow


def open_delivery(session: Session, analysis_id: str, destination: str) -> Job:
    """Create the delivery and return its job."""
    now = utc_now()
    row = DeliveryRow(
        priority=session.get_one(AnalysisRow, analysis_id).priority,
        delivery_id=new_id("del"),
        analysis_id=analysis_id,
        destination=destination,
        state=DeliveryState.QUEUED,
        queued_at=now,
        state_at=now,
    )
    session.add(row)
    session.flush()
    return Job(JobKind.DELIVERY, row.delivery_id, destination=destination, priority=row.priority)


def destinations_waited_for(session: Session) -> set[str]:
    """Return the destinations of deliveries that have not ended."""
    return set(session.scalars(sa.select(DeliveryRow.destination).where(DeliveryRow.state.in_(OPEN_DELIVERIES))))


def claim(session: Session, delivery_id: str, enqueues: int, executor_id: str) -> DeliveryClaim | None:
    """Take the delivery, or return None where there is nothing to do any more; ``enqueues`` as in analyses.claim."""
    now = utc_now()
    row = DeliveryRow
    try:
        guarded(
            session,
            sa.update(row)
            .where(row.delivery_id == delivery_id, row.enqueues == enqueues, row.state.in_(OPEN_DELIVERIES))
            .values(
                state=DeliveryState.SENDING,
                attempts=row.attempts + 1,
                executor_id=executor_id,
                state_at=now,
                next_attempt_at=None,
                first_claimed_at=sa.func.coalesce(row.first_claimed_at, now),
            ),
        )
    except StaleClaim:
        return None
    claimed = session.get_one(row, delivery_id, populate_existing=True)
    analysis = session.get_one(AnalysisRow, claimed.analysis_id)
    if session.get_one(SeriesRow, analysis.series_id).revision != analysis.revision:
        claimed.state = DeliveryState.SUPERSEDED
        return None
    done = session.scalars(
        sa.select(DeliveredObjectRow.kind).where(DeliveredObjectRow.delivery_id == delivery_id)
    ).all()
    return DeliveryClaim(
        delivery_id=delivery_id,
        analysis_id=claimed.analysis_id,
        series_id=analysis.series_id,
        revision=analysis.revision,
        destination=claimed.destination,
        attempt=claimed.attempts,
        first_claimed_at=claimed.first_claimed_at or now,
        delivered=frozenset(done),
    )


def record_object(session: Session, held: DeliveryClaim, kind: str, sop_instance_uid: str, status: int) -> None:
    """Record that the destination holds this object, so that it is not sent again."""
    session.add(
        DeliveredObjectRow(
            delivery_id=held.delivery_id,
            kind=kind,
            sop_instance_uid=sop_instance_uid,
            status=status,
            sent_at=utc_now(),
        )
    )


def mark_ended(
    session: Session, held: DeliveryClaim, state: DeliveryState, code: str | None = None, reason: str | None = None
) -> None:
    """End the delivery as delivered, blocked or failed; StaleClaim when it was taken over."""
    guarded(session, _held(held).values(state=state, state_at=utc_now(), reason_code=code, reason=reason))


def retry_later(session: Session, held: DeliveryClaim, delay_s: float, reason: str) -> Job:
    """Put the delivery back with a delay and return the job of its next attempt."""
    now = utc_now()
    guarded(
        session,
        _held(held).values(
            state=DeliveryState.QUEUED,
            enqueues=DeliveryRow.enqueues + 1,
            state_at=now,
            next_attempt_at=now + timedelta(seconds=delay_s),
            reason_code="retry",
            reason=reason,
        ),
    )
    return _job(session, held.delivery_id, delay_s)


def retry(session: Session, delivery_id: str) -> Job:
    """Queue a parked delivery once more; StaleClaim when it is in another state."""
    row = DeliveryRow
    guarded(
        session,
        sa.update(row)
        .where(row.delivery_id == delivery_id, row.state.in_((DeliveryState.BLOCKED, DeliveryState.FAILED)))
        .values(
            state=DeliveryState.QUEUED,
            enqueues=row.enqueues + 1,
            first_claimed_at=None,
            state_at=utc_now(),
            reason_code=None,
            reason=None,
        ),
    )
    return _job(session, delivery_id)


def _job(session: Session, delivery_id: str, delay_s: float = 0.0) -> Job:
    row = session.get_one(DeliveryRow, delivery_id, populate_existing=True)
    return Job(JobKind.DELIVERY, delivery_id, row.enqueues, row.destination, row.priority, delay_s)


def _held(held: DeliveryClaim) -> sa.Update:
    return sa.update(DeliveryRow).where(
        DeliveryRow.delivery_id == held.delivery_id,
        DeliveryRow.attempts == held.attempt,
        DeliveryRow.state == DeliveryState.SENDING,
    )
