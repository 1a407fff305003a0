"""Heartbeats of receivers and of processes that run jobs, on the database's own clock."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.store.tables import ExecutorRow

RECEIVER = "receiver"


def _now_s(session: Session) -> sa.ColumnElement[float]:
    if session.get_bind().dialect.name == "sqlite":
        return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)
    return sa.literal_column("extract(epoch from clock_timestamp())", sa.Float)


def beat(session: Session, executor_id: str, role: str) -> None:
    """Say that the executor lives."""
    now = _now_s(session)
    alive = sa.update(ExecutorRow).where(ExecutorRow.executor_id == executor_id).values(beat_at_s=now, role=role)
    if session.connection().execute(alive).rowcount == 0:
        session.execute(sa.insert(ExecutorRow).values(executor_id=executor_id, role=role, beat_at_s=now))


def silent(session: Session, longer_than_s: float, role: str) -> list[str]:
    """Return the executors without a heartbeat for that long that one of ``role`` can stand in for.

    A receiver stands in for receivers alone, and whoever runs jobs for all others.
    """
    limit = _now_s(session) - longer_than_s
    kin = ExecutorRow.role == RECEIVER if role == RECEIVER else ExecutorRow.role != RECEIVER
    return list(session.scalars(sa.select(ExecutorRow.executor_id).where(ExecutorRow.beat_at_s < limit, kin)))


def forget(session: Session, executor_id: str) -> None:
    """Drop an executor whose jobs were given back; it appears again with its next heartbeat."""
    session.execute(sa.delete(ExecutorRow).where(ExecutorRow.executor_id == executor_id))


def living(session: Session, within_s: float) -> list[ExecutorRow]:
    """Return the executors with a heartbeat within that time."""
    limit = _now_s(session) - within_s
    return list(session.scalars(sa.select(ExecutorRow).where(ExecutorRow.beat_at_s >= limit)))
