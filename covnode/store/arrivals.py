"""Instances that became durable in the spool, on their way into our tables: many in one transaction.

Idempotent: what is recorded already changes nothing, so whoever is in doubt records again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.arrival import ArrivedInstance
from covnode.records.job import SeriesState
from covnode.store.sessions import new_id
from covnode.store.tables import InstanceRow, SeriesRow, StudyRow

LatePolicy = Literal["amend", "ignore", "new_series"]
_PART = "#"


def record(session: Session, arrivals: Sequence[ArrivedInstance], late: LatePolicy) -> list[str]:
    """Record instances and return the series id of each.

    Parameters
    ----------
    late
        What becomes of a slice whose series was complete: amend: the next revision of the series begins; ignore: it is
        kept and left out; new_series: it begins a series of its own.

    Raises
    ------
    RowExists
        Another process recorded the same series or instance first: record again.
    """
    now = utc_now()
    # The first statement writes: it takes SQLite's write lock, so that no series changes its state below our feet.
    studies = _studies(session, arrivals, now)
    known = _known_instances(session, {arrived.content_sha256 for arrived in arrivals})
    parts = _parts(session, {arrived.series_digest for arrived in arrivals}, late)
    series_ids, rows, added = [], [], dict[str, int]()
    for arrived in arrivals:
        name = (arrived.series_digest, arrived.sop_digest, arrived.content_sha256)
        if name in known:
            series_ids.append(known[name])
            continue
        series, ignored = _series_for(session, parts, arrived, studies[arrived.study_digest], late)
        known[name] = series.series_id
        series_ids.append(series.series_id)
        rows.append(_instance(arrived, series.series_id, now, ignored=ignored))
        if not ignored:
            added[series.series_id] = added.get(series.series_id, 0) + 1
    if rows:
        session.execute(sa.insert(InstanceRow), rows)
    _note(session, parts, added, now)
    return series_ids


def unrecorded(session: Session, folder: str, names: Collection[str]) -> list[str]:
    """Return those files of one folder of the spool (names relative to the spool) that no row knows."""
    of_folder = sa.select(SeriesRow.series_id).where(
        sa.or_(
            SeriesRow.series_digest == folder,
            SeriesRow.series_digest.startswith(f"{folder}{_PART}"),
            SeriesRow.series_id == folder,
        )
    )
    recorded = set(session.scalars(sa.select(InstanceRow.file_name).where(InstanceRow.series_id.in_(of_folder))))
    return [name for name in names if name not in recorded]


def file_names(session: Session) -> list[tuple[str, str]]:
    """Return (series id, file name relative to the spool) of all instances."""
    return list(session.execute(sa.select(InstanceRow.series_id, InstanceRow.file_name)).tuples())


def _known_instances(session: Session, contents: Collection[str]) -> dict[tuple[str, str, str], str]:
    query = (
        sa.select(SeriesRow.series_digest, InstanceRow.sop_digest, InstanceRow.content_sha256, InstanceRow.series_id)
        .join(SeriesRow, SeriesRow.series_id == InstanceRow.series_id)
        .where(InstanceRow.content_sha256.in_(contents))
    )
    return {
        (digest.split(_PART)[0], sop, content): series_id for digest, sop, content, series_id in session.execute(query)
    }


def _studies(session: Session, arrivals: Sequence[ArrivedInstance], now: datetime) -> dict[str, str]:
    """Return study ids by digest; all are marked as fed, and those that were not known are made."""
    digests = {arrived.study_digest for arrived in arrivals}
    of_these = StudyRow.study_digest.in_(digests)
    session.execute(sa.update(StudyRow).where(of_these).values(last_instance_at=now))
    ids = dict(session.execute(sa.select(StudyRow.study_digest, StudyRow.study_id).where(of_these)).tuples().all())
    for digest in digests - ids.keys():
        ids[digest] = new_id("std")
        session.add(StudyRow(study_id=ids[digest], study_digest=digest, received_at=now, last_instance_at=now))
    session.flush()
    urgent = {arrived.study_digest for arrived in arrivals if arrived.facts.stat}
    if urgent:
        session.execute(sa.update(StudyRow).where(StudyRow.study_digest.in_(urgent)).values(stat=True))
    return ids


def _parts(session: Session, digests: Collection[str], late: LatePolicy) -> dict[str, list[SeriesRow]]:
    """Return the rows of each series by its digest: one, or several where late slices begin series of their own."""
    matches: list[sa.ColumnElement[bool]] = [SeriesRow.series_digest.in_(digests)]
    if late == "new_series":
        matches += [SeriesRow.series_digest.startswith(f"{digest}{_PART}") for digest in digests]
    query = sa.select(SeriesRow).where(sa.or_(*matches)).order_by(SeriesRow.received_at).with_for_update()
    parts: dict[str, list[SeriesRow]] = {digest: [] for digest in digests}
    for row in session.scalars(query):
        parts[row.series_digest.split(_PART)[0]].append(row)
    return parts


def _series_for(
    session: Session, parts: Mapping[str, list[SeriesRow]], arrived: ArrivedInstance, study_id: str, late: LatePolicy
) -> tuple[SeriesRow, bool]:
    """Return the series of a new instance, and whether the instance is to be ignored."""
    rows = parts[arrived.series_digest]
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
        "content_sha256": arrived.content_sha256,
        "file_name": arrived.file_name,
        "size_bytes": arrived.size_bytes,
        "sop_class_uid": arrived.sop_class_uid,
        "transfer_syntax_uid": arrived.transfer_syntax_uid,
        "received_at": now,
        "patient_digest": arrived.patient_digest,
        "facts": asdict(arrived.facts),
        "ignored": ignored,
    }


def _note(session: Session, parts: Mapping[str, list[SeriesRow]], added: Mapping[str, int], now: datetime) -> None:
    for rows in parts.values():
        for row in rows:
            if row.series_id in added:
                row.instance_count += added[row.series_id]
                row.last_instance_at = now
    session.flush()
