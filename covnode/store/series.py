"""Series and their instances: what came in, and whether it may be worked on."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.job import SeriesState
from covnode.store.sessions import guarded, new_id
from covnode.store.tables import InstanceRow, SeriesRow


@dataclass(frozen=True)
class SpooledInstance:
    """What is known of an instance when it lies in the spool; UIDs as keyed digests."""

    sop_digest: str
    content_sha256: str
    file_name: str
    size_bytes: int
    sop_class_uid: str
    transfer_syntax_uid: str


def series_id_of(session: Session, series_digest: str, source_ae_title: str) -> str:
    """Return our id of the series, made at its first instance."""
    known = session.scalar(sa.select(SeriesRow.series_id).where(SeriesRow.series_digest == series_digest))
    if known:
        return known
    now = utc_now()
    row = SeriesRow(
        series_id=new_id("ser"),
        series_digest=series_digest,
        state=SeriesState.RECEIVING,
        revision=1,
        received_at=now,
        last_instance_at=now,
        state_at=now,
        source_ae_title=source_ae_title,
    )
    session.add(row)
    session.flush()
    return row.series_id


def add_instance(session: Session, series_id: str, instance: SpooledInstance) -> bool:
    """Record an instance that is durable in the spool; return whether its content was new.

    A slice that comes after its series was complete opens the next revision: the whole series is analysed again.
    """
    now = utc_now()
    exists = session.scalar(
        sa.select(InstanceRow.instance_id).where(
            InstanceRow.series_id == series_id,
            InstanceRow.sop_digest == instance.sop_digest,
            InstanceRow.content_sha256 == instance.content_sha256,
        )
    )
    if exists:
        return False
    session.add(InstanceRow(series_id=series_id, received_at=now, **instance.__dict__))
    session.execute(
        sa.update(SeriesRow)
        .where(SeriesRow.series_id == series_id)
        .values(
            instance_count=SeriesRow.instance_count + 1,
            last_instance_at=now,
            revision=sa.case(
                (SeriesRow.state == SeriesState.RECEIVING, SeriesRow.revision), else_=SeriesRow.revision + 1
            ),
            state=SeriesState.RECEIVING,
            intake_attempts=0,
            completeness=None,
            reason_code=None,
            reason=None,
        )
    )
    return True


def in_state(session: Session, state: SeriesState) -> list[SeriesRow]:
    """Return the series with at least one instance in ``state``, oldest first."""
    query = sa.select(SeriesRow).where(SeriesRow.state == state, SeriesRow.instance_count > 0)
    return list(session.scalars(query.order_by(SeriesRow.received_at)))


def instances_of(session: Session, series_id: str) -> list[InstanceRow]:
    """Return the instances of a series in the order of arrival."""
    query = sa.select(InstanceRow).where(InstanceRow.series_id == series_id)
    return list(session.scalars(query.order_by(InstanceRow.instance_id)))


def mark_complete(session: Session, series_id: str, revision: int, evidence: str) -> None:
    """Note that the series is complete, and why; StaleClaim when a slice came meanwhile."""
    _move(session, (series_id, revision), SeriesState.RECEIVING, state=SeriesState.COMPLETE, completeness=evidence)


def mark_chosen(session: Session, series_id: str, revision: int) -> None:
    """Note that the series is to be analysed; StaleClaim when a late slice came meanwhile."""
    _move(session, (series_id, revision), SeriesState.COMPLETE, state=SeriesState.CHOSEN)


def mark_handed_over(session: Session, series_id: str, revision: int) -> None:
    """Note that the de-identified copy is in the queue; StaleClaim when a late slice came meanwhile."""
    _move(session, (series_id, revision), SeriesState.CHOSEN, state=SeriesState.HANDED_OVER)


def quarantine(session: Session, series_id: str, revision: int, code: str, reason: str) -> None:
    """Keep the series in the spool, where it goes no further until a person looks."""
    guarded(
        session,
        sa.update(SeriesRow)
        .where(
            SeriesRow.series_id == series_id,
            SeriesRow.revision == revision,
            SeriesRow.state.in_((SeriesState.COMPLETE, SeriesState.CHOSEN)),
        )
        .values(state=SeriesState.QUARANTINED, state_at=utc_now(), reason_code=code, reason=reason),
    )


def count_intake(session: Session, series_id: str) -> int:
    """Count one more try to take the series in, and return the count."""
    session.execute(
        sa.update(SeriesRow)
        .where(SeriesRow.series_id == series_id)
        .values(intake_attempts=SeriesRow.intake_attempts + 1)
    )
    return session.scalar(sa.select(SeriesRow.intake_attempts).where(SeriesRow.series_id == series_id)) or 0


def release_from_quarantine(session: Session, series_id: str) -> None:
    """Take a quarantined series in once more; StaleClaim when it is in another state."""
    guarded(
        session,
        sa.update(SeriesRow)
        .where(SeriesRow.series_id == series_id, SeriesRow.state == SeriesState.QUARANTINED)
        .values(state=SeriesState.COMPLETE, state_at=utc_now(), intake_attempts=0, reason_code=None, reason=None),
    )


def _move(session: Session, claim: tuple[str, int], before: SeriesState, **values: str | datetime) -> None:
    series_id, revision = claim
    guarded(
        session,
        sa.update(SeriesRow)
        .where(SeriesRow.series_id == series_id, SeriesRow.revision == revision, SeriesRow.state == before)
        .values(state_at=utc_now(), **values),
    )
