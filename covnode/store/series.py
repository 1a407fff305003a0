"""Series and their instances: what came in, and whether it may be worked on."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.arrival import SliceFacts
from covnode.records.job import SeriesState
from covnode.store.sessions import guarded
from covnode.store.tables import ExecutorRow, InstanceRow, SeriesRow

IDENTITY_CONFLICT = "identity_conflict"
FILES_REMOVED = "files_removed"
FILES_ELSEWHERE = "files_elsewhere"
_CONFLICT_ACCEPTED = "identity_conflict_accepted"


def in_state(session: Session, state: SeriesState, receiver: str) -> list[SeriesRow]:
    """Return the series in ``state`` that this receiver sees to and that have an instance, oldest first."""
    query = sa.select(SeriesRow).where(SeriesRow.state == state, SeriesRow.instance_count > 0, seen_to_by(receiver))
    return list(session.scalars(query.order_by(SeriesRow.received_at)))


def seen_to_by(receiver: str) -> sa.ColumnElement[bool]:
    """Return the condition that this receiver sees to a series; what nobody sees to is everybody's."""
    return sa.or_(SeriesRow.receiver == receiver, SeriesRow.receiver.is_(None))


def see_to(session: Session, receiver: str, series_ids: Collection[str], spool: str | None = None) -> None:
    """Have a receiver see to those of the series that are still coming in; ``spool`` as in the table."""
    session.connection().execute(
        sa.update(SeriesRow)
        .where(
            SeriesRow.series_id.in_(series_ids),
            SeriesRow.state == SeriesState.RECEIVING,
            sa.or_(SeriesRow.receiver.is_distinct_from(receiver), SeriesRow.spool.is_distinct_from(spool)),
        )
        .values(receiver=receiver, spool=spool)
    )


def adopt(session: Session, receiver: str, spool: str | None = None) -> int:
    """Have a receiver see to what was seen to by nobody, or by one that has no row any more; return how many these are.

    Of several that do this at once each series gets one. What lies in another spool than the receiver's waits for it.
    """
    is_there = sa.exists().where(ExecutorRow.executor_id == SeriesRow.receiver)
    orphans = sa.update(SeriesRow).where(
        SeriesRow.state.in_((SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN)),
        SeriesRow.receiver.is_distinct_from(receiver),
        ~is_there,
        in_spool(spool),
    )
    return session.connection().execute(orphans.values(receiver=receiver)).rowcount


def in_spool(spool: str | None) -> sa.ColumnElement[bool]:
    """Return the condition that a host with this spool has the files of a series; of what names none, all have them."""
    return sa.or_(SeriesRow.spool.is_(None), SeriesRow.spool == spool)


def id_of(session: Session, series_digest: str) -> str | None:
    """Return our id of the series with this digest; None where nothing of it is recorded."""
    return session.scalar(sa.select(SeriesRow.series_id).where(SeriesRow.series_digest == series_digest))


def _counts(series_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(InstanceRow.series_id == series_id, InstanceRow.ignored.is_(sa.false()))


def input_of(session: Session, series_id: str) -> list[InstanceRow]:
    """Return the instances of a series that count, by arrival: what is judged, analysed and checked against."""
    return list(session.scalars(sa.select(InstanceRow).where(_counts(series_id)).order_by(InstanceRow.instance_id)))


def facts_of(session: Session, series_id: str) -> list[SliceFacts | None]:
    """Return what is known of each distinct SOP Instance of the series; None: nothing but that it came."""
    query = sa.select(InstanceRow.sop_digest, InstanceRow.facts).where(_counts(series_id))
    distinct: dict[str, SliceFacts | None] = {}
    for sop_digest, facts in session.execute(query.order_by(InstanceRow.instance_id)):
        distinct.setdefault(sop_digest, None if facts is None else msgspec.convert(facts, SliceFacts))
    return list(distinct.values())


def any_file_of(session: Session, series_id: str) -> str:
    """Return the name of a file of the series that counts, relative to the spool."""
    query = sa.select(InstanceRow.file_name).where(_counts(series_id))
    return session.scalars(query.order_by(InstanceRow.instance_id).limit(1)).one()


def mark_complete(
    session: Session,
    series_id: str,
    revision: int,
    sentence: str,
    evidence: Mapping[str, Any] | None = None,
    *,
    instances: int | None = None,
) -> None:
    """Note that the series is complete, and why; StaleClaim when a slice came meanwhile.

    Parameters
    ----------
    evidence
        The figures behind the sentence.
    instances
        How many instances had come when the series was judged.
    """
    values: dict[str, Any] = {"completeness": sentence, "evidence": dict(evidence or {})}
    if values["evidence"].get("expected") is not None:
        values["expected_instances"] = values["evidence"]["expected"]
    claim = sa.update(SeriesRow).where(
        SeriesRow.series_id == series_id,
        SeriesRow.revision == revision,
        SeriesRow.state == SeriesState.RECEIVING,
    )
    if instances is not None:
        claim = claim.where(SeriesRow.instance_count == instances)
    guarded(session, claim.values(state=SeriesState.COMPLETE, state_at=utc_now(), **values))


def conflicting_studies(session: Session, study_ids: Collection[str]) -> dict[str, int]:
    """Return those of the studies whose instances name more than one patient, with how many they name."""
    patients = sa.func.count(sa.distinct(InstanceRow.patient_digest))
    query = (
        sa.select(SeriesRow.study_id, patients)
        .join(InstanceRow, InstanceRow.series_id == SeriesRow.series_id)
        .where(SeriesRow.study_id.in_(study_ids), InstanceRow.ignored.is_(sa.false()))
        .group_by(SeriesRow.study_id)
        .having(patients > 1)
    )
    return {study_id: count for study_id, count in session.execute(query) if study_id is not None}


def quarantine_conflict(session: Session, study_id: str, patients: int) -> list[str]:
    """Quarantine what is complete but not handed over of a study that names several patients; return their ids.

    What a person has released from such a quarantine stays released, until a late slice comes.
    """
    query = sa.select(SeriesRow).where(
        SeriesRow.study_id == study_id,
        SeriesRow.state.in_((SeriesState.COMPLETE, SeriesState.CHOSEN, SeriesState.NOT_CHOSEN)),
    )
    held = [row for row in session.scalars(query) if not (row.evidence or {}).get(_CONFLICT_ACCEPTED)]
    reason = (
        f"the instances of its study name {patients} different patients: see which one it belongs to, "
        "then release it by 'covnode jobs retry'"
    )
    for row in held:
        quarantine(session, row.series_id, row.revision, IDENTITY_CONFLICT, reason)
    return [row.series_id for row in held]


def mark_chosen(session: Session, series_id: str, revision: int) -> None:
    """Note that the series is to be analysed; StaleClaim when a late slice came meanwhile."""
    move(session, (series_id, revision), (SeriesState.COMPLETE,), state=SeriesState.CHOSEN)


def mark_handed_over(session: Session, series_id: str, revision: int) -> None:
    """Note that the de-identified copy is in the queue; StaleClaim when a late slice came meanwhile."""
    move(session, (series_id, revision), (SeriesState.CHOSEN,), state=SeriesState.HANDED_OVER)


def quarantine(session: Session, series_id: str, revision: int, code: str, reason: str) -> None:
    """Keep the series in the spool, where it goes no further until a person looks."""
    before = (SeriesState.COMPLETE, SeriesState.CHOSEN, SeriesState.NOT_CHOSEN)
    move(session, (series_id, revision), before, state=SeriesState.QUARANTINED, reason_code=code, reason=reason)


def count_intake(session: Session, series_id: str) -> int:
    """Count one more try to take the series in that failed, and return the count."""
    session.execute(
        sa.update(SeriesRow)
        .where(SeriesRow.series_id == series_id)
        .values(intake_attempts=SeriesRow.intake_attempts + 1)
    )
    return session.scalar(sa.select(SeriesRow.intake_attempts).where(SeriesRow.series_id == series_id)) or 0


def release_from_quarantine(session: Session, series_id: str) -> None:
    """Let a quarantined series go on, on a person's word; StaleClaim when it is in another state."""
    row = session.get(SeriesRow, series_id)
    values: dict[str, Any] = {}
    if row is not None and row.reason_code == IDENTITY_CONFLICT:
        values["evidence"] = {**(row.evidence or {}), _CONFLICT_ACCEPTED: True}
    guarded(
        session,
        sa.update(SeriesRow)
        .where(SeriesRow.series_id == series_id, SeriesRow.state == SeriesState.QUARANTINED)
        .values(
            state=SeriesState.COMPLETE,
            state_at=utc_now(),
            intake_attempts=0,
            reason_code=None,
            reason=None,
            **values,
        ),
    )


def move(session: Session, claim: tuple[str, int], before: Collection[SeriesState], **values: object) -> None:
    """Move a series on, by its id and revision, from one of the states ``before``; StaleClaim when it is in another."""
    series_id, revision = claim
    guarded(
        session,
        sa.update(SeriesRow)
        .where(SeriesRow.series_id == series_id, SeriesRow.revision == revision, SeriesRow.state.in_(before))
        .values(state_at=utc_now(), **values),
    )
