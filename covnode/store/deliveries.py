"""Deliveries: one analysis to one destination, with the send state of each object."""

from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import (
    OPEN_DELIVERIES,
    PARKED_DELIVERIES,
    DeliveryClaim,
    DeliveryState,
    Job,
    JobKind,
    WaitsFor,
    queue_name,
)
from covnode.store import destinations, queues
from covnode.store.requeue import job_of
from covnode.store.sessions import guarded, new_id
from covnode.store.tables import AnalysisRow, DeliveredObjectRow, DeliveryRow, SeriesRow
from covnode.store.waiting import another_suspect, earlier_of_study

_CAN_BE_RETRIED = (*PARKED_DELIVERIES, DeliveryState.CANCELLED)


def open_delivery(session: Session, analysis_id: str, destination: str) -> Job:
    """Create the delivery and return its job."""
    now = utc_now()
    analysis = session.get_one(AnalysisRow, analysis_id)
    row = DeliveryRow(
        priority=analysis.priority,
        spool=session.get_one(SeriesRow, analysis.series_id).spool,
        delivery_id=new_id("del"),
        analysis_id=analysis_id,
        destination=destination,
        state=DeliveryState.QUEUED,
        queued_at=now,
        state_at=now,
    )
    session.add(row)
    session.flush()
    return job_of(row)


def destinations_waited_for(session: Session) -> set[str]:
    """Return the destinations of deliveries that have not ended."""
    return set(session.scalars(sa.select(DeliveryRow.destination).where(DeliveryRow.state.in_(OPEN_DELIVERIES))))


def send_on(session: Session, delivery_id: str, enqueues: int) -> Job | None:
    """Return the job with which a delivery goes to the spool that has its series; None: it is there.

    It was queued before its series had a spool of its own.
    """
    of_series = sa.select(SeriesRow.spool).join(AnalysisRow).join(DeliveryRow)
    spool = session.scalar(of_series.where(DeliveryRow.delivery_id == delivery_id))
    row = DeliveryRow
    astray = (row.delivery_id == delivery_id, row.enqueues == enqueues, row.spool.is_distinct_from(spool))
    if spool is None:
        return None
    moved = sa.update(row).where(*astray, row.state.in_(OPEN_DELIVERIES)).values(spool=spool, enqueues=enqueues + 1)
    return _job(session, delivery_id) if session.connection().execute(moved).rowcount else None


def claim(
    session: Session, delivery_id: str, enqueues: int, executor_id: str, own_fence: int = 0
) -> DeliveryClaim | None:
    """Take the delivery, or return None where there is nothing to do, its queue is paused or it has to wait.

    It waits, without a job and without an attempt counted, while an earlier delivery of its study to the same
    destination has not ended, and while the destination is away. store.waiting queues it again.

    Parameters
    ----------
    enqueues
        As in analyses.claim.
    own_fence
        Of the claim that this very process has given up, as it does while the database is away: no sender died of that.
    """
    now = utc_now()
    row = DeliveryRow
    destination = session.scalar(sa.select(row.destination).where(row.delivery_id == delivery_id))
    paused = queues.is_paused(session, queue_name(JobKind.DELIVERY, destination))
    of_this_job = sa.update(row).where(row.delivery_id == delivery_id, row.enqueues == enqueues)
    try:
        guarded(
            session,
            of_this_job.where(row.state.in_(OPEN_DELIVERIES), ~paused).values(
                state=DeliveryState.QUEUED,
                fence=row.fence + 1,
                executor_id=executor_id,
                state_at=now,
                next_attempt_at=None,
                waits_for=None,
                crashes=row.crashes + _died(own_fence),
            ),
        )
    except StaleClaim:
        put_back = of_this_job.where(row.state == DeliveryState.SENDING, paused)
        session.execute(
            put_back.values(state=DeliveryState.QUEUED, state_at=now, crashes=row.crashes + _died(own_fence))
        )
        return None
    claimed = session.get_one(row, delivery_id, populate_existing=True)
    analysis = session.get_one(AnalysisRow, claimed.analysis_id)
    series = session.get_one(SeriesRow, analysis.series_id)
    if series.revision != analysis.revision:
        claimed.state = DeliveryState.SUPERSEDED
        return None
    if _has_to_wait(session, claimed):
        return None
    claimed.state = DeliveryState.SENDING
    claimed.attempts += 1
    claimed.first_claimed_at = claimed.first_claimed_at or now
    return DeliveryClaim(
        delivery_id=delivery_id,
        analysis_id=claimed.analysis_id,
        series_id=analysis.series_id,
        revision=analysis.revision,
        destination=claimed.destination,
        attempt=claimed.attempts,
        fence=claimed.fence,
        first_claimed_at=claimed.first_claimed_at,
        delivered=_delivered(session, delivery_id),
        crashes=claimed.crashes,
        result_place=analysis.result_place,
    )


def _died(own_fence: int) -> sa.ColumnElement[int]:
    """Return 1 where whoever sent the delivery has died: it would have put it back."""
    return sa.case((sa.and_(DeliveryRow.state == DeliveryState.SENDING, DeliveryRow.fence != own_fence), 1), else_=0)


def _delivered(session: Session, delivery_id: str) -> frozenset[str]:
    kinds = sa.select(DeliveredObjectRow.kind).where(DeliveredObjectRow.delivery_id == delivery_id)
    return frozenset(session.scalars(kinds))


def _has_to_wait(session: Session, row: DeliveryRow) -> bool:
    """Note what a delivery waits for; return whether there is anything."""
    of_row = DeliveryRow.delivery_id == row.delivery_id
    earlier = session.scalar(sa.select(earlier_of_study().scalar_subquery()).where(of_row))
    if earlier is not None:
        row.waits_for = WaitsFor.STUDY
        row.reason = f"{earlier}, an earlier delivery of its study, has not ended"
    elif destinations.is_away(session, row.destination):
        row.waits_for = WaitsFor.DESTINATION
        row.reason = f"{row.destination} is away"
    elif row.crashes and session.scalar(sa.select(another_suspect().exists()).where(of_row)):
        row.waits_for = WaitsFor.SUSPECT
        row.reason = "a sender died of it or beside it: it is sent when no other such delivery is"
    return row.waits_for is not None


def record_object(session: Session, held: DeliveryClaim, kind: str, sop_instance_uid: str, status: int) -> bool:
    """Record that the destination holds this object, so that it is not sent again.

    Returns
    -------
    bool
        Whether the delivery is still to go on: it may have been superseded while the object was on its way.

    Raises
    ------
    StaleClaim
        Another process has taken the delivery over: it answers for its objects.
    """
    row = DeliveryRow
    mine = (row.delivery_id == held.delivery_id, row.fence == held.fence)
    # Takes the row, so that nobody claims it before this is committed.
    guarded(session, sa.update(row).where(*mine).values(fence=held.fence))
    session.add(
        DeliveredObjectRow(
            delivery_id=held.delivery_id,
            kind=kind,
            sop_instance_uid=sop_instance_uid,
            status=status,
            sent_at=utc_now(),
        )
    )
    return session.scalar(sa.select(row.state).where(*mine)) == DeliveryState.SENDING


def mark_ended(
    session: Session, held: DeliveryClaim, state: DeliveryState, code: str | None = None, reason: str | None = None
) -> None:
    """End the delivery as delivered, blocked or failed; StaleClaim when it was taken over."""
    guarded(session, _held(held).values(state=state, state_at=utc_now(), reason_code=code, reason=reason))


def retry_later(session: Session, held: DeliveryClaim, delay_s: float, reason: str, *, lets_pass: bool = False) -> Job:
    """Put the delivery back with a delay and return the job of its next attempt.

    Parameters
    ----------
    lets_pass
        Whether later ones of its study need not wait for it any more.
    """
    now = utc_now()
    guarded(
        session,
        _held(held).values(
            state=DeliveryState.QUEUED,
            crashes=0,
            lets_pass=lets_pass,
            enqueues=DeliveryRow.enqueues + 1,
            state_at=now,
            next_attempt_at=now + timedelta(seconds=delay_s),
            reason_code="retry",
            reason=reason,
            last_error=reason,
        ),
    )
    return _job(session, held.delivery_id, delay_s)


def wait_for_destination(session: Session, held: DeliveryClaim, reason: str) -> None:
    """Put the delivery back until its destination answers again."""
    guarded(
        session,
        _held(held).values(
            state=DeliveryState.QUEUED,
            crashes=0,
            lets_pass=False,
            waits_for=WaitsFor.DESTINATION,
            state_at=utc_now(),
            reason=reason,
        ),
    )


def put_back(session: Session, executor_id: str) -> None:
    """Have what this executor sends tried again when it is back: a process that is asked to stop is no crash."""
    sending = sa.update(DeliveryRow).where(
        DeliveryRow.executor_id == executor_id, DeliveryRow.state == DeliveryState.SENDING
    )
    session.execute(sending.values(state=DeliveryState.QUEUED, state_at=utc_now()))


def parked(session: Session, destination: str | None) -> list[str]:
    """Return the dead letters among the deliveries, the earliest first."""
    query = sa.select(DeliveryRow.delivery_id).where(DeliveryRow.state.in_(PARKED_DELIVERIES))
    if destination is not None:
        query = query.where(DeliveryRow.destination == destination)
    return list(session.scalars(query.order_by(DeliveryRow.queued_at, DeliveryRow.delivery_id)))


def retry(session: Session, delivery_id: str) -> Job:
    """Queue a parked delivery once more; StaleClaim when it is in another state."""
    row = DeliveryRow
    guarded(
        session,
        sa.update(row)
        .where(row.delivery_id == delivery_id, row.state.in_(_CAN_BE_RETRIED))
        .values(
            state=DeliveryState.QUEUED,
            attempts=0,
            crashes=0,
            lets_pass=False,
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
    return replace(job_of(row), delay_s=delay_s)


def _held(held: DeliveryClaim) -> sa.Update:
    return sa.update(DeliveryRow).where(
        DeliveryRow.delivery_id == held.delivery_id,
        DeliveryRow.fence == held.fence,
        DeliveryRow.state == DeliveryState.SENDING,
    )
