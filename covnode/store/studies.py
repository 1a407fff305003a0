"""Studies: which of their series were chosen, and what becomes of the rest.

Every change names the state and the revision that it starts from, so that a slice that comes meanwhile wins.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.records.job import OPEN_ANALYSES, AnalysisState, DeliveryState, SeriesState
from covnode.store import analyses
from covnode.store.series import move, seen_to_by
from covnode.store.sessions import guarded
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow, StudyRow

_WITHOUT_RESULT = (AnalysisState.NOT_ANALYSED, AnalysisState.FAILED, AnalysisState.CANCELLED)
_ON_ITS_WAY = (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN)
_BY_HAND = "by_hand"
_BETTER_SERIES = "better_series"


def waiting(session: Session, receiver: str) -> list[str]:
    """Return the studies with complete series that this receiver sees to, the one that has waited longest first."""
    query = (
        sa.select(SeriesRow.study_id)
        .where(
            SeriesRow.state == SeriesState.COMPLETE,
            SeriesRow.instance_count > 0,
            SeriesRow.study_id.is_not(None),
            seen_to_by(receiver),
        )
        .group_by(SeriesRow.study_id)
        .order_by(sa.func.min(SeriesRow.state_at))
    )
    return [study_id for study_id in session.scalars(query) if study_id is not None]


def newest(session: Session, limit: int) -> list[str]:
    """Return the studies that came in last, newest first."""
    return list(session.scalars(sa.select(StudyRow.study_id).order_by(StudyRow.received_at.desc()).limit(limit)))


def series_of(session: Session, study_id: str) -> list[SeriesRow]:
    """Return the series of a study that hold instances, by arrival."""
    query = sa.select(SeriesRow).where(SeriesRow.study_id == study_id, SeriesRow.instance_count > 0)
    return list(session.scalars(query.order_by(SeriesRow.received_at, SeriesRow.series_id)))


def hold(session: Session, series_id: str) -> None:
    """Let the study of a series not become STAT before the commit: an analysis opened until then is raised with it.

    Called before anything is written, so that all take the study first; SQLite holds everything from then on.
    """
    study = sa.select(StudyRow.study_id).join(SeriesRow).where(SeriesRow.series_id == series_id)
    session.execute(study.with_for_update(read=True, of=StudyRow))


def keep_sheet(session: Session, judged: SeriesRow, sheet: dict[str, Any]) -> None:
    """Keep the score sheet of a series as it was judged; StaleClaim when a slice came meanwhile, or still may."""
    this = sa.update(SeriesRow).where(
        SeriesRow.series_id == judged.series_id,
        SeriesRow.revision == judged.revision,
        SeriesRow.instance_count == judged.instance_count,
        SeriesRow.state != SeriesState.RECEIVING,
    )
    # Written before it is read: the lock of the row keeps a person's choice from coming in between.
    guarded(session, this.values(revision=judged.revision))
    kept = session.scalar(sa.select(SeriesRow.score_sheet).where(SeriesRow.series_id == judged.series_id)) or {}
    by_hand = {_BY_HAND: True} if kept.get(_BY_HAND) else {}
    guarded(session, this.values(score_sheet={**sheet, **by_hand}))


def pass_over(session: Session, series_id: str, revision: int, code: str, reason: str) -> None:
    """Note that the series is not analysed, and why; StaleClaim when it is on its way by now, or a late slice came."""
    before = (SeriesState.COMPLETE, SeriesState.CHOSEN)
    move(session, (series_id, revision), before, state=SeriesState.NOT_CHOSEN, reason_code=code, reason=reason)


def set_choice(session: Session, study: StudyRow, series_id: str) -> int:
    """Make the series the study's choice and return the revision of the choice; StaleClaim when it changed meanwhile.

    The series that was the choice before stays one revision: an amended series that is chosen again is no new choice.
    """
    if study.chosen_series_id == series_id:
        return study.choice_revision
    guarded(
        session,
        sa.update(StudyRow)
        .where(StudyRow.study_id == study.study_id, StudyRow.choice_revision == study.choice_revision)
        .values(chosen_series_id=series_id, choice_revision=study.choice_revision + 1),
    )
    return study.choice_revision + 1


def supersede(session: Session, series_id: str, reason: str) -> None:
    """Supersede the analyses of a series that have not ended, and the deliveries of those that have."""
    analyses.supersede(session, AnalysisRow.series_id == series_id, reason_code=_BETTER_SERIES, reason=reason)


def came_to_nothing(session: Session, study: StudyRow) -> str | None:
    """Say that the series chosen of a study ended without a result and no other one has or will have one; else None."""
    chosen = session.get(SeriesRow, study.chosen_series_id) if study.chosen_series_id else None
    if chosen is None:
        return None
    of_its_revision = sa.and_(AnalysisRow.series_id == chosen.series_id, AnalysisRow.revision == chosen.revision)
    analysis = session.scalars(sa.select(AnalysisRow).where(of_its_revision)).first()
    if chosen.state == SeriesState.QUARANTINED:
        how = f"is in quarantine ({chosen.reason_code})"
    elif chosen.state == SeriesState.HANDED_OVER and analysis is not None and analysis.state in _WITHOUT_RESULT:
        how = f"could not be analysed ({analysis.reason_code})"
    else:
        return None
    is_withdrawn = sa.exists().where(
        DeliveryRow.analysis_id == AnalysisRow.analysis_id, DeliveryRow.state == DeliveryState.SUPERSEDED
    )
    has_result = sa.and_(AnalysisRow.state == AnalysisState.ANALYSED, ~is_withdrawn)
    others = (
        sa.select(SeriesRow.series_id)
        .outerjoin(AnalysisRow, AnalysisRow.series_id == SeriesRow.series_id)
        .where(
            SeriesRow.study_id == study.study_id,
            SeriesRow.series_id != chosen.series_id,
            sa.or_(SeriesRow.state.in_(_ON_ITS_WAY), AnalysisRow.state.in_(OPEN_ANALYSES), has_result),
        )
    )
    if session.scalars(others.limit(1)).first() is not None:
        return None
    return (
        f"{chosen.series_id}, which was chosen, {how}, and no other series of the study is analysed: "
        "'covnode series choose ID' takes another one, also one that was superseded"
    )


def choose_by_hand(session: Session, series_id: str) -> None:
    """Have a series analysed because a person says so, and make it the choice of its study.

    What was chosen before goes on; no series that comes later takes the place of this one. A series whose work gave
    way to a better one is analysed anew, as its next revision; so is one that was not analysed and was sent again after
    retention had removed its files. StaleClaim when the series is none of these, nor complete, nor passed over.
    """
    may_be_anew = sa.exists(
        sa.select(AnalysisRow.analysis_id)
        .outerjoin(DeliveryRow, DeliveryRow.analysis_id == AnalysisRow.analysis_id)
        .where(
            AnalysisRow.series_id == SeriesRow.series_id,
            AnalysisRow.revision == SeriesRow.revision,
            sa.or_(
                AnalysisRow.reason_code == _BETTER_SERIES,
                DeliveryRow.reason_code == _BETTER_SERIES,
                sa.and_(AnalysisRow.state == AnalysisState.NOT_ANALYSED, SeriesRow.files_removed_at.is_not(None)),
            ),
        )
    )
    is_handed_over = SeriesRow.state == SeriesState.HANDED_OVER
    row = session.get(SeriesRow, series_id)
    sheet = {} if row is None else {**(row.score_sheet or {}), _BY_HAND: True}
    guarded(
        session,
        sa.update(SeriesRow)
        .where(
            SeriesRow.series_id == series_id,
            sa.or_(
                SeriesRow.state.in_((SeriesState.NOT_CHOSEN, SeriesState.COMPLETE)),
                sa.and_(is_handed_over, may_be_anew),
            ),
        )
        .values(
            revision=sa.case((is_handed_over, SeriesRow.revision + 1), else_=SeriesRow.revision),
            state=SeriesState.CHOSEN,
            state_at=utc_now(),
            intake_attempts=0,
            reason_code=None,
            reason=None,
            score_sheet=sheet,
        ),
    )
    study = None if row is None or row.study_id is None else session.get(StudyRow, row.study_id)
    if study is not None:
        set_choice(session, study, series_id)
