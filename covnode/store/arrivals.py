"""Instances that became durable in the spool, on their way into our tables: many in one transaction.

Idempotent: what is recorded already changes nothing, so whoever is in doubt records again.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.arrival import ArrivedInstance
from covnode.records.job import SeriesState
from covnode.store.series import FILES_ELSEWHERE, FILES_REMOVED, in_spool, see_to
from covnode.store.sessions import new_id
from covnode.store.tables import InstanceRow, SeriesRow, StudyRow

LatePolicy = Literal["amend", "ignore", "new_series"]
_PART = "#"


def record(
    session: Session,
    arrivals: Sequence[ArrivedInstance],
    late: LatePolicy,
    receiver: str | None = None,
    spool: str | None = None,
) -> list[str]:
    """Record instances and return the series id of each.

    Parameters
    ----------
    receiver
        The executor that sees to their series from now on, also where the instances are known; None: it stays.
    spool
        Where their files lie, where hosts share none.
    late
        What becomes of a slice whose series was complete: amend: the next revision of the series begins; ignore: it is
        kept and left out; new_series: it begins a series of its own.

    Raises
    ------
    RowExists
        Another process recorded the same series or instance first: record again.
    """
    now = utc_now()
    _lock(session, arrivals)
    known = _known_instances(session, arrivals)
    fresh = [arrived for arrived in arrivals if _name(arrived) not in known]
    studies = _studies(session, fresh, now)
    parts = _parts(session, fresh, studies, late)
    rows, added = [], Counter[str]()
    for arrived in fresh:
        if _name(arrived) in known:
            continue
        series, ignored = _series_for(session, parts[arrived.series_digest], arrived, studies, late)
        known[_name(arrived)] = series.series_id
        rows.append(_instance(arrived, series.series_id, now, ignored=ignored))
        if not ignored:
            added[series.series_id] += 1
    if rows:
        session.connection().execute(sa.insert(InstanceRow), rows)
    _note(session, parts, added, now)
    _note_return(session, {known[_name(arrived)] for arrived in arrivals}, now, spool)
    if receiver is not None:
        see_to(session, receiver, set(known.values()), spool)
    return [known[_name(arrived)] for arrived in arrivals]


def unrecorded(session: Session, folder: str, names: Collection[str], spool: str | None = None) -> list[str]:
    """Return those files of one folder of the spool (names relative to the spool) whose content no row knows.

    A content that was recorded from another folder is known: older releases named the folders differently, and the
    sender that sends it again leaves it in both. What retention removed and somebody sent again is to be recorded anew.

    Parameters
    ----------
    spool
        Of the folder, where hosts share none: from now on it has the series, if that was said of no other one.
    """
    whole = sa.select(SeriesRow).where(sa.or_(SeriesRow.series_digest == folder, SeriesRow.series_id == folder))
    of_folder: set[str] = set()
    for row in session.scalars(whole).all():
        parts: list[SeriesRow] = []
        if row.study_id is not None:
            parts = list(session.scalars(_later_parts([row.study_id])))
        for part in (row, *parts):
            if folder in _folders(part):
                part.spool = part.spool or spool
        of_folder |= {part.series_id for part in (row, *parts) if part.files_held and folder in _folders(part)}
    query = sa.select(InstanceRow.file_name, InstanceRow.content_digest).where(InstanceRow.series_id.in_(of_folder))
    recorded: set[str] = set()
    for file_name, content in session.execute(query).tuples():
        recorded |= {file_name, f"{folder}/{content}.dcm"}
    return [name for name in names if name not in recorded]


def left_behind(session: Session, folder: str, spool: str) -> datetime | None:
    """Return when retention removed the series of a folder on the host that had it, another one; None: it did not.

    Files of it that are older were received here in part, or twice.
    """
    parts = sa.or_(SeriesRow.series_digest == folder, SeriesRow.series_digest.startswith(folder + _PART))
    rows = session.scalars(sa.select(SeriesRow).where(parts)).all()
    moments = [row.files_removed_at for row in rows if not row.files_held and row.spool not in {None, spool}]
    removed = [moment for moment in moments if moment is not None]
    return max(removed) if removed and len(removed) == len(rows) else None


def file_names(
    session: Session, after_id: int = 0, limit: int = 10_000, spool: str | None = None
) -> list[tuple[int, str, str]]:
    """Return (instance id, series id, file name relative to the spool) of the next instances behind an id, in order.

    Those of series that retention has removed files of are left out, and so are those of other spools than ``spool``.
    """
    query = sa.select(InstanceRow.instance_id, InstanceRow.series_id, InstanceRow.file_name).join(SeriesRow)
    page = query.where(InstanceRow.instance_id > after_id, SeriesRow.files_removed_at.is_(None), in_spool(spool))
    page = page.order_by(InstanceRow.instance_id).limit(limit)
    return list(session.execute(page).tuples())


def _name(arrived: ArrivedInstance) -> tuple[str, str, str]:
    return arrived.series_digest, arrived.sop_digest, arrived.content_digest


def _lock(session: Session, arrivals: Sequence[ArrivedInstance]) -> None:
    """Take SQLite's write lock by a statement that writes, so that no series changes its state below our feet.

    It changes nothing: a sender that repeats itself feeds no study.
    """
    of_these = StudyRow.study_digest.in_({arrived.study_digest for arrived in arrivals})
    session.execute(sa.update(StudyRow).where(of_these).values(last_instance_at=StudyRow.last_instance_at))


def _known_instances(session: Session, arrivals: Sequence[ArrivedInstance]) -> dict[tuple[str, str, str], str]:
    query = (
        sa.select(SeriesRow.series_digest, InstanceRow.sop_digest, InstanceRow.content_digest, InstanceRow.series_id)
        .join(SeriesRow, SeriesRow.series_id == InstanceRow.series_id)
        .where(
            InstanceRow.sop_digest.in_({arrived.sop_digest for arrived in arrivals}),
            InstanceRow.content_digest.in_({arrived.content_digest for arrived in arrivals}),
        )
    )
    return {
        (digest.split(_PART)[0], sop, content): series_id for digest, sop, content, series_id in session.execute(query)
    }


def _studies(session: Session, arrivals: Sequence[ArrivedInstance], now: datetime) -> dict[str, str]:
    """Return study ids by digest; those that were not known are made."""
    digests = {arrived.study_digest for arrived in arrivals}
    query = sa.select(StudyRow.study_digest, StudyRow.study_id).where(StudyRow.study_digest.in_(digests))
    ids = dict(session.execute(query).tuples().all())
    for digest in digests - ids.keys():
        ids[digest] = new_id("std")
        session.add(StudyRow(study_id=ids[digest], study_digest=digest, received_at=now, last_instance_at=now))
    session.flush()
    return ids


def _parts(
    session: Session, arrivals: Sequence[ArrivedInstance], studies: Mapping[str, str], late: LatePolicy
) -> dict[str, list[SeriesRow]]:
    """Return the rows of each series by its digest: one, or several where late slices begin series of their own."""
    digests = {arrived.series_digest for arrived in arrivals}
    queries = [sa.select(SeriesRow).where(SeriesRow.series_digest.in_(digests))]
    if late == "new_series":
        queries.append(_later_parts(studies.values()))
    parts: dict[str, list[SeriesRow]] = {digest: [] for digest in digests}
    for query in queries:
        for row in session.scalars(query.order_by(SeriesRow.received_at, SeriesRow.series_id).with_for_update()):
            if _whole(row) in parts:
                parts[_whole(row)].append(row)
    return parts


def _later_parts(study_ids: Collection[str]) -> sa.Select[SeriesRow]:
    """Select the series that late slices began. They are found by their study: a prefix is found by no index."""
    return sa.select(SeriesRow).where(SeriesRow.study_id.in_(study_ids), SeriesRow.series_digest.contains(_PART))


def _whole(row: SeriesRow) -> str:
    """Return the digest of the series that a row is a part of."""
    return row.series_digest.split(_PART)[0]


def _folders(row: SeriesRow) -> tuple[str, str]:
    """Return the names of the folders of the spool in which the files of a series lie: ours, and an older release's."""
    return _whole(row), row.series_id


def _series_for(
    session: Session, rows: list[SeriesRow], arrived: ArrivedInstance, studies: Mapping[str, str], late: LatePolicy
) -> tuple[SeriesRow, bool]:
    """Return the series of a new instance, and whether the instance is to be ignored."""
    study_id = studies[arrived.study_digest]
    for row in rows:
        if row.study_id is None:
            # Series of before studies were recorded have none: whoever sends more of one tells which it is.
            row.study_id = study_id
    if rows and (rows[-1].state == SeriesState.RECEIVING or late != "new_series"):
        row = rows[-1]
        is_late = row.state != SeriesState.RECEIVING
        if is_late and late == "ignore":
            return row, True
        if is_late:
            _reopen(row)
        return row, False
    now = utc_now()
    row = SeriesRow(
        series_id=new_id("ser"),
        study_id=study_id,
        series_digest=f"{arrived.series_digest}{_PART}{len(rows) + 1}" if rows else arrived.series_digest,
        state=SeriesState.RECEIVING,
        revision=1,
        received_at=now,
        last_instance_at=now,
        state_at=now,
        instance_count=0,
        source_ae_title=arrived.source_ae_title,
    )
    session.add(row)
    session.flush()
    rows.append(row)
    return row, False


def _reopen(row: SeriesRow) -> None:
    """Begin the next revision: the whole series is analysed again, and its result supersedes the older one."""
    row.state = SeriesState.RECEIVING
    row.revision += 1
    row.state_at = utc_now()
    row.intake_attempts = 0
    row.completeness = row.evidence = row.reason_code = row.reason = None


def _instance(arrived: ArrivedInstance, series_id: str, now: datetime, *, ignored: bool) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "sop_digest": arrived.sop_digest,
        "content_digest": arrived.content_digest,
        "file_name": arrived.file_name,
        "size_bytes": arrived.size_bytes,
        "sop_class_uid": arrived.sop_class_uid,
        "transfer_syntax_uid": arrived.transfer_syntax_uid,
        "received_at": now,
        "patient_digest": arrived.patient_digest,
        "facts": msgspec.to_builtins(arrived.facts),
        "ignored": ignored,
    }


def _note(session: Session, parts: Mapping[str, list[SeriesRow]], added: Mapping[str, int], now: datetime) -> None:
    fed = set()
    for row in itertools.chain.from_iterable(parts.values()):
        if row.series_id in added:
            row.instance_count += added[row.series_id]
            row.last_instance_at = now
            fed.add(row.study_id)
    session.flush()
    if fed:
        session.execute(sa.update(StudyRow).where(StudyRow.study_id.in_(fed)).values(last_instance_at=now))


def _note_return(session: Session, series_ids: Collection[str], now: datetime, spool: str | None) -> None:
    """Note that files lie in the spool again of series whose files retention had removed, or another host had.

    One that waits for its files is judged again: whether it is complete, and whether all of them are back.
    """
    lacked = sa.or_(SeriesRow.files_removed_at.is_not(None), SeriesRow.reason_code == FILES_ELSEWHERE)
    back = sa.select(SeriesRow).where(SeriesRow.series_id.in_(series_ids), lacked)
    for row in session.scalars(back.with_for_update()).all():
        if not row.files_held:
            row.spool = spool
        row.files_held = True
        row.last_instance_at = now
        if row.state == SeriesState.QUARANTINED and row.reason_code in {FILES_REMOVED, FILES_ELSEWHERE}:
            row.state = SeriesState.RECEIVING
            row.state_at = now
            row.completeness = row.evidence = row.reason_code = row.reason = None
    session.flush()
