"""Analyses: opened when a series is handed over, claimed by a worker, ended once.

Every change names the state (and the attempt) that it starts from, so a process that lost its claim writes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import (
    MAX_CRASHES,
    OPEN_ANALYSES,
    OPEN_DELIVERIES,
    AnalysisClaim,
    AnalysisState,
    DeliveryState,
    Job,
    JobKind,
    Priority,
    priority_of,
    queue_name,
)
from covnode.records.series import DeidentifiedSeries
from covnode.store import queues
from covnode.store.requeue import job_of
from covnode.store.sessions import guarded, new_id
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow, StudyRow

MAX_ATTEMPTS = MAX_CRASHES
_CAN_BE_RETRIED = (AnalysisState.FAILED, AnalysisState.NOT_ANALYSED, AnalysisState.CANCELLED)


def open_analysis(session: Session, series: DeidentifiedSeries, copy_place: str | None = None) -> Job:
    """Create the analysis of this revision, supersede what an older one has not ended, and return its job.

    Parameters
    ----------
    copy_place
        Of the series in the object store; None: it lies in its folder.
    """
    now = utc_now()
    priority = _priority(session, series.series_id)
    supersede(session, sa.and_(AnalysisRow.series_id == series.series_id, AnalysisRow.revision < series.revision))
    row = AnalysisRow(
        analysis_id=new_id("ana"),
        series_id=series.series_id,
        revision=series.revision,
        state=AnalysisState.QUEUED,
        input_sha256=series.input_sha256,
        copy_place=copy_place,
        priority=priority,
        queued_at=now,
        state_at=now,
    )
    session.add(row)
    session.flush()
    return job_of(row)


def _priority(session: Session, series_id: str) -> Priority:
    """Return the priority of a series: that of its study if that is STAT, else that of the rules, else routine."""
    if session.scalar(sa.select(StudyRow.stat).join(SeriesRow).where(SeriesRow.series_id == series_id)):
        return Priority.STAT
    sheet = session.scalar(sa.select(SeriesRow.score_sheet).where(SeriesRow.series_id == series_id))
    by_rule = (sheet or {}).get("priority")
    return priority_of(by_rule) if by_rule else Priority.ROUTINE


def supersede(session: Session, which: sa.ColumnElement[bool], **why: str) -> None:
    """Supersede those analyses that have not ended, and the deliveries of those that have.

    Parameters
    ----------
    why
        ``reason_code`` and ``reason``, where there is one to state.
    """
    values = {"state_at": utc_now(), **why}
    session.execute(
        sa.update(DeliveryRow)
        .where(
            DeliveryRow.analysis_id.in_(sa.select(AnalysisRow.analysis_id).where(which)),
            DeliveryRow.state.in_(OPEN_DELIVERIES),
        )
        .values(state=DeliveryState.SUPERSEDED, **values)
    )
    session.execute(
        sa.update(AnalysisRow)
        .where(which, AnalysisRow.state.in_(OPEN_ANALYSES))
        .values(state=AnalysisState.SUPERSEDED, **values)
    )


def claim(session: Session, analysis_id: str, enqueues: int, executor_id: str) -> AnalysisClaim | None:
    """Take the analysis, or return None where there is nothing to do: ended, superseded, crashed too often, or paused.

    Parameters
    ----------
    enqueues
        Of the job: one of an earlier enqueue is void, else two jobs would take one analysis from each other.
    """
    now = utc_now()
    row = AnalysisRow
    paused = queues.is_paused(session, queue_name(JobKind.ANALYSIS))
    of_this_job = sa.update(row).where(row.analysis_id == analysis_id, row.enqueues == enqueues)
    try:
        guarded(
            session,
            of_this_job.where(row.state.in_(OPEN_ANALYSES), ~paused).values(
                state=AnalysisState.RUNNING,
                attempts=row.attempts + 1,
                fence=row.fence + 1,
                executor_id=executor_id,
                state_at=now,
                progress_percent=0,
                first_claimed_at=sa.func.coalesce(row.first_claimed_at, now),
            ),
        )
    except StaleClaim:
        # What was at work waits like the rest, and whoever worked on it has lost it.
        put_back = of_this_job.where(row.state == AnalysisState.RUNNING, paused)
        session.execute(put_back.values(state=AnalysisState.QUEUED, state_at=now))
        return None
    claimed = session.get_one(row, analysis_id, populate_existing=True)
    series = session.get_one(SeriesRow, claimed.series_id)
    if series.revision != claimed.revision:
        _end(session, (analysis_id, claimed.fence), state=AnalysisState.SUPERSEDED)
        return None
    if claimed.attempts > MAX_ATTEMPTS or claimed.first_claimed_at is None:
        _end(
            session,
            (analysis_id, claimed.fence),
            state=AnalysisState.FAILED,
            attempts=MAX_ATTEMPTS,
            reason_code="given_up",
            reason=f"given up after {MAX_ATTEMPTS} attempts; the last one: {claimed.reason or 'the worker stopped'}",
        )
        return None
    return AnalysisClaim(
        analysis_id=analysis_id,
        series_id=claimed.series_id,
        revision=claimed.revision,
        input_sha256=claimed.input_sha256,
        attempt=claimed.attempts,
        fence=claimed.fence,
        first_claimed_at=claimed.first_claimed_at,
        received_cautions=_reception_cautions(series.evidence or {}, series.completeness or ""),
        copy_place=claimed.copy_place,
    )


def _reception_cautions(evidence: Mapping[str, Any], sentence: str) -> tuple[str, ...]:
    """Say what a reader must know of how the slices came; both as mark_complete got them."""
    cautions = []
    # Series from before the figures were kept have the sentence alone.
    association = evidence.get("association") or ("aborted" if "aborted" in sentence else None)
    if association == "aborted":
        cautions.append("The transfer of the series was interrupted; slices at either end may be missing.")
    expected, instances = evidence.get("expected"), evidence.get("instances")
    if expected is not None and instances is not None and instances < expected:
        if evidence.get("expected_by") == "acquisition":
            # The tag counts the images of a scan, whichever series they went into.
            cautions.append(f"The headers announce {expected} images of the scan; {instances} are in this series.")
        else:
            cautions.append(f"Only {instances} of {expected} announced images of the series were received.")
    if (evidence.get("geometry") or {}).get("gaps"):
        cautions.append("Between slices of the series as it was received there are gaps.")
    if evidence.get("rule") == "watchdog":
        cautions.append("The transfer of the series had not ended when it was taken for complete.")
    return tuple(cautions)


def report_progress(session: Session, held: AnalysisClaim, percent: int) -> None:
    """Show how far the analysis is; StaleClaim when it was taken over."""
    guarded(session, _held(held.analysis_id, held.fence).values(progress_percent=percent))


def is_held(session: Session, held: AnalysisClaim) -> bool:
    """Whether the claim still stands: the analysis was neither taken over nor superseded nor cancelled."""
    mine = sa.and_(AnalysisRow.fence == held.fence, AnalysisRow.state == AnalysisState.RUNNING)
    return session.scalar(sa.select(mine).where(AnalysisRow.analysis_id == held.analysis_id)) or False


def note_interruption(session: Session, held: AnalysisClaim, reason: str) -> None:
    """Keep why an attempt ended early."""
    guarded(session, _held(held.analysis_id, held.fence).values(reason=reason, last_error=reason))


def mark_analysed(
    session: Session,
    held: AnalysisClaim,
    cautions: Sequence[str],
    timings_s: Mapping[str, float],
    device: str,
    result_place: str | None = None,
) -> None:
    """End the analysis: its result is kept; ``device`` says where it was made, ``result_place`` as in the table."""
    _end(
        session,
        (held.analysis_id, held.fence),
        state=AnalysisState.ANALYSED,
        progress_percent=100,
        cautions=list(cautions),
        timings_s=dict(timings_s),
        device=device,
        result_place=result_place,
        reason_code=None,
        reason=None,
    )


def mark_ended(session: Session, held: AnalysisClaim, state: AnalysisState, code: str, reason: str) -> None:
    """End the analysis without a result, and say why."""
    _end(session, (held.analysis_id, held.fence), state=state, reason_code=code, reason=reason, last_error=reason)


def uncount_attempt(session: Session, held: AnalysisClaim) -> None:
    """Take back the attempt of a process that was asked to stop: a restart is no crash of the analysis."""
    session.execute(_held(held.analysis_id, held.fence).values(attempts=AnalysisRow.attempts - 1))


def failed(session: Session) -> list[str]:
    """Return the dead letters among the analyses, the earliest first."""
    query = sa.select(AnalysisRow.analysis_id).where(AnalysisRow.state == AnalysisState.FAILED)
    return list(session.scalars(query.order_by(AnalysisRow.queued_at)))


def retry(session: Session, analysis_id: str) -> Job:
    """Queue an analysis that ended without a result once more; StaleClaim when it is in another state."""
    row = AnalysisRow
    guarded(
        session,
        sa.update(row)
        .where(row.analysis_id == analysis_id, row.state.in_(_CAN_BE_RETRIED))
        .values(
            state=AnalysisState.QUEUED,
            attempts=0,
            progress_percent=0,
            enqueues=row.enqueues + 1,
            queued_at=utc_now(),
            state_at=utc_now(),
            reason_code=None,
            reason=None,
        ),
    )
    return job_of(session.get_one(row, analysis_id, populate_existing=True))


def _held(analysis_id: str, fence: int) -> sa.Update:
    return sa.update(AnalysisRow).where(
        AnalysisRow.analysis_id == analysis_id,
        AnalysisRow.fence == fence,
        AnalysisRow.state == AnalysisState.RUNNING,
    )


def _end(session: Session, fence: tuple[str, int], **values: object) -> None:
    guarded(session, _held(*fence).values(state_at=utc_now(), **values))
