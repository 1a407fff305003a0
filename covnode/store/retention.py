"""Which series have come to their end, and since when; and the mark that retention removed their files.

Names the states that are an end; whatever is in any other state is kept. Rows and sealed identities stay.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.records.job import AnalysisState, DeliveryState, SeriesState
from covnode.store.series import in_spool
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow, InstanceRow, SeriesRow, StudyRow


class End(StrEnum):
    """How a series ended; the names of the policies in the settings begin with them."""

    DELIVERED = "delivered"
    WITHOUT_RESULT = "without_result"


class Standing(NamedTuple):
    """Where a series stands.

    Attributes
    ----------
    end
        None: it has not ended, and ``why`` says what it waits for.
    since
        Of the end, or of the last instance that came after it.
    """

    series_id: str
    end: End | None
    since: datetime
    why: str


class Files(NamedTuple):
    """What of a series lies on disk: names relative to the spool, and the ids that folders are called by."""

    received: list[str]
    analysis_ids: list[str]
    delivery_ids: list[str]


def held(session: Session, after_id: str, limit: int, spool: str | None = None) -> list[Standing]:
    """Return where the next series stand, in the order of their ids, of which files may lie on disk.

    Those of other spools than ``spool`` are left out: whoever has them removes them.
    """
    query = sa.select(SeriesRow).where(SeriesRow.files_held, SeriesRow.series_id > after_id, in_spool(spool))
    return _standings(session, session.scalars(query.order_by(SeriesRow.series_id).limit(limit)).all())


def lock(session: Session, series_id: str) -> SeriesRow | None:
    """Return a series that nobody else changes, or removes the files of, until the transaction ends."""
    session.execute(sa.update(SeriesRow).where(SeriesRow.series_id == series_id).values(revision=SeriesRow.revision))
    return session.get(SeriesRow, series_id, populate_existing=True)


def standing(session: Session, row: SeriesRow) -> Standing:
    """Return where one series stands."""
    return _standings(session, [row])[0]


def files_of(session: Session, series_id: str) -> Files:
    """Return what is to be removed of a series: of all its revisions."""
    analyses = list(session.scalars(sa.select(AnalysisRow.analysis_id).where(AnalysisRow.series_id == series_id)))
    deliveries = sa.select(DeliveryRow.delivery_id).where(DeliveryRow.analysis_id.in_(analyses))
    received = sa.select(InstanceRow.file_name).where(InstanceRow.series_id == series_id)
    return Files(list(session.scalars(received)), analyses, list(session.scalars(deliveries)))


def note_removed(session: Session, series_id: str, marked_at: datetime) -> None:
    """Note that no file is left; StaleClaim when some came again since the mark."""
    guarded(
        session,
        sa.update(SeriesRow)
        .where(
            SeriesRow.series_id == series_id,
            SeriesRow.files_removed_at == marked_at,
            SeriesRow.last_instance_at < marked_at,
        )
        .values(files_held=False),
    )


def _standings(session: Session, rows: Sequence[SeriesRow]) -> list[Standing]:
    chosen = _chosen(session, {row.study_id for row in rows if row.state == SeriesState.NOT_CHOSEN and row.study_id})
    everything = {row.series_id: row for row in (*rows, *chosen.values())}
    analyses = _analyses(session, everything.keys())
    deliveries = _deliveries(session, [analysis.analysis_id for analysis in analyses.values()])

    def alone(row: SeriesRow) -> Standing:
        analysis = analyses.get(row.series_id)
        return _of(row, analysis, deliveries.get(analysis.analysis_id, []) if analysis else [])

    def of_study(row: SeriesRow) -> Standing:
        own, best = alone(row), chosen.get(row.study_id or "")
        if row.state != SeriesState.NOT_CHOSEN or best is None or best.series_id == row.series_id:
            return own
        # While the one that was chosen may yet fail, a person may want to take this one.
        of_best = alone(best)
        if of_best.end is None:
            return own._replace(end=None, why=f"{best.series_id}, chosen of its study, {of_best.why}")
        return own._replace(since=max(own.since, of_best.since))

    return [of_study(row) for row in rows]


def _chosen(session: Session, study_ids: Collection[str]) -> dict[str, SeriesRow]:
    """Return the series chosen of each study."""
    query = (
        sa.select(StudyRow.study_id, SeriesRow)
        .join(SeriesRow, SeriesRow.series_id == StudyRow.chosen_series_id)
        .where(StudyRow.study_id.in_(study_ids))
    )
    return dict(session.execute(query).tuples().all())


def _analyses(session: Session, series_ids: Collection[str]) -> dict[str, AnalysisRow]:
    """Return the analysis of the newest revision of each series."""
    is_newest = sa.and_(SeriesRow.series_id == AnalysisRow.series_id, SeriesRow.revision == AnalysisRow.revision)
    query = sa.select(AnalysisRow).join(SeriesRow, is_newest).where(AnalysisRow.series_id.in_(series_ids))
    return {row.series_id: row for row in session.scalars(query)}


def _deliveries(session: Session, analysis_ids: Collection[str]) -> dict[str, list[DeliveryRow]]:
    found: dict[str, list[DeliveryRow]] = {}
    for row in session.scalars(sa.select(DeliveryRow).where(DeliveryRow.analysis_id.in_(analysis_ids))):
        found.setdefault(row.analysis_id, []).append(row)
    return found


def _of(row: SeriesRow, analysis: AnalysisRow | None, deliveries: Sequence[DeliveryRow]) -> Standing:
    """Say how one series stands by its own rows."""

    def ended(end: End, why: str, *moments: datetime) -> Standing:
        return Standing(row.series_id, end, max(row.last_instance_at, *moments), why)

    def goes_on(why: str) -> Standing:
        return Standing(row.series_id, None, row.state_at, why)

    if row.state == SeriesState.NOT_CHOSEN:
        return ended(End.WITHOUT_RESULT, "was not chosen", row.state_at)
    if row.state != SeriesState.HANDED_OVER or analysis is None:
        return goes_on(f"is {row.state}")
    if analysis.state in {AnalysisState.NOT_ANALYSED, AnalysisState.SUPERSEDED, AnalysisState.CANCELLED}:
        return ended(End.WITHOUT_RESULT, f"is {analysis.state}", analysis.state_at)
    waits_for = _waits_for(analysis, deliveries)
    if waits_for is not None:
        return goes_on(waits_for)
    moments = [delivery.state_at for delivery in deliveries]
    if all(delivery.state == DeliveryState.DELIVERED for delivery in deliveries):
        return ended(End.DELIVERED, "is delivered", *moments)
    return ended(End.WITHOUT_RESULT, "gave way to a better series", *moments)


def _waits_for(analysis: AnalysisRow, deliveries: Sequence[DeliveryRow]) -> str | None:
    if analysis.state != AnalysisState.ANALYSED:
        return f"has an analysis that is {analysis.state}"
    for delivery in deliveries:
        if delivery.state not in {DeliveryState.DELIVERED, DeliveryState.SUPERSEDED}:
            return f"has a delivery to {delivery.destination} that is {delivery.state}"
    return None if deliveries else "has a result that nobody was sent"
