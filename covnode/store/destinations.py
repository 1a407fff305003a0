"""The circuit breaker of each destination, shared by all senders.

So many attempts in a row that did not reach a destination, and it counts as away: no delivery tries it until one
sender, which took the probe, had an answer. What a destination answers to an object is no matter of the breaker.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.job import OPEN_DELIVERIES, PARKED_DELIVERIES
from covnode.store.sessions import guarded
from covnode.store.tables import DeliveryRow, DestinationRow

STANDING = ("away_since", "next_probe_at", "last_error", "waiting", "parked")
"""What ``standing`` tells."""

PauseS = Callable[[int], float]
"""(failures in a row) -> seconds until the next probe"""


def is_away(session: Session, destination: str) -> bool:
    """Whether deliveries to the destination wait."""
    row = session.get(DestinationRow, destination)
    return row is not None and row.away_since is not None


def note_failure(session: Session, destination: str, reason: str, away_after: int, pause_s: PauseS) -> bool:
    """Note an attempt that did not reach the destination; return whether it is away since this one."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(DestinationRow).values(destination=destination, failures=0).on_conflict_do_nothing())
    row = session.get_one(DestinationRow, destination, with_for_update=True, populate_existing=True)
    if row.away_since is not None:
        # The attempt began before: it says nothing that is not known.
        return False
    row.failures += 1
    row.last_error = reason
    if row.failures < away_after:
        return False
    row.away_since = utc_now()
    row.next_probe_at = row.away_since + timedelta(seconds=pause_s(row.failures))
    return True


def note_reached(session: Session, destination: str) -> bool:
    """Note that the destination answers; return whether it was away."""
    row = session.get(DestinationRow, destination)
    if row is None or row.failures == 0:
        return False
    was_away = row.away_since is not None
    row.failures, row.away_since, row.next_probe_at, row.last_error = 0, None, None, None
    return was_away


def probes_due(session: Session) -> list[str]:
    """Return the destinations that are to be asked now."""
    due = sa.and_(DestinationRow.away_since.is_not(None), DestinationRow.next_probe_at <= utc_now())
    return list(session.scalars(sa.select(DestinationRow.destination).where(due)))


def take_probe(session: Session, destination: str, within_s: float) -> None:
    """Take the probe, so that no other sender asks within that time.

    Raises
    ------
    StaleClaim
        Another sender has taken it, or the destination is back.
    """
    row, now = DestinationRow, utc_now()
    guarded(
        session,
        sa.update(row)
        .where(row.destination == destination, row.away_since.is_not(None), row.next_probe_at <= now)
        .values(next_probe_at=now + timedelta(seconds=within_s)),
    )


def prolong(session: Session, destination: str, reason: str, pause_s: PauseS) -> None:
    """Note a probe without an answer: the next one is later."""
    row = session.get_one(DestinationRow, destination, with_for_update=True, populate_existing=True)
    if row.away_since is not None:
        row.failures += 1
        row.last_error = reason
        row.next_probe_at = utc_now() + timedelta(seconds=pause_s(row.failures))


def standing(session: Session, destination: str) -> dict[str, Any]:
    """Return how it stands with a destination, for a person: away since when, its next probe, what waits and lies."""
    row = session.get(DestinationRow, destination)
    counts = sa.select(
        sa.func.count().filter(DeliveryRow.state.in_(OPEN_DELIVERIES)),
        sa.func.count().filter(DeliveryRow.state.in_(PARKED_DELIVERIES)),
    ).where(DeliveryRow.destination == destination)
    waiting, parked = session.execute(counts).one()
    breaker = (row.away_since, row.next_probe_at, row.last_error) if row else (None, None, None)
    return dict(zip(STANDING, (*breaker, waiting, parked), strict=True))
