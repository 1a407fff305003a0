"""What became of each series, proved by the objects at the PACS and, where there are none, by a dead letter's reason.

Answered with Success implies: exactly one SEG and one SR that name all answered instances as their source, or a dead
letter with a reason. Objects of an earlier revision name fewer instances; each of them may be there once too. A storage
commitment that was asked for has been reported.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.chaos.pacs import StoredObject
from covnode.chaos.pushes import PushedSeries
from covnode.records.job import OPEN_ANALYSES, OPEN_DELIVERIES, PARKED_DELIVERIES, AnalysisState, Job, SeriesState
from covnode.store import requeue
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow, StudyRow

_ON_ITS_WAY = (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN)
_STOPPED = (SeriesState.QUARANTINED, SeriesState.NOT_CHOSEN)
_EXPECTED = ("SEG", "SR")


class Fate(StrEnum):
    """What became of a series."""

    DELIVERED = "delivered"
    DEAD_LETTER = "dead letter"
    UNANSWERED = "not answered"
    UNCOMMITTED = "not committed"
    LOST = "lost"
    DUPLICATED = "duplicated"
    CONTRADICTED = "contradicted"


GOOD = (Fate.DELIVERED, Fate.DEAD_LETTER)


@dataclass(frozen=True)
class SeriesFate:
    """What became of one series.

    Attributes
    ----------
    resent
        C-STOREs beyond the first of an object, all of the same bytes.
    """

    number: int
    instances: int
    answered: int
    fate: Fate
    reason: str
    objects: int
    resent: int


@dataclass(frozen=True)
class Standing:
    """How a series stands in the node's tables.

    Attributes
    ----------
    is_open
        Whether anything of it is still to be done.
    letter
        Why it ended without a result; None: it did not.
    job
        The newest job of its analysis; None: that is not there yet, or has ended.
    """

    is_open: bool
    letter: str | None = None
    job: Job | None = None


def standing(session: Session, study_digest: str) -> Standing:
    """Return how the series of a study stands."""
    of_study = sa.select(SeriesRow).join(StudyRow, StudyRow.study_id == SeriesRow.study_id)
    series = session.scalars(of_study.where(StudyRow.study_digest == study_digest)).first()
    if series is None or series.state in _ON_ITS_WAY:
        return Standing(is_open=True)
    if series.state in _STOPPED:
        return Standing(is_open=False, letter=f"{series.state}: {series.reason}")
    of_revision = sa.and_(AnalysisRow.series_id == series.series_id, AnalysisRow.revision == series.revision)
    analysis = session.scalars(sa.select(AnalysisRow).where(of_revision)).first()
    if analysis is None:
        return Standing(is_open=True)
    if analysis.state in OPEN_ANALYSES:
        return Standing(is_open=True, job=requeue.job_of(analysis))
    if analysis.state in {AnalysisState.FAILED, AnalysisState.NOT_ANALYSED}:
        return Standing(is_open=False, letter=f"{analysis.state}: {analysis.reason}")
    of_analysis = sa.select(DeliveryRow).where(DeliveryRow.analysis_id == analysis.analysis_id)
    deliveries = session.scalars(of_analysis).all()
    stopped = next((row for row in deliveries if row.state in PARKED_DELIVERIES), None)
    letter = None if stopped is None else f"delivery {stopped.state}: {stopped.reason}"
    return Standing(any(row.state in OPEN_DELIVERIES for row in deliveries), letter)


def is_at_work(session: Session) -> bool:
    """Whether anything is on its way through the node."""
    waiting = sa.select(SeriesRow.series_id).where(SeriesRow.state.in_(_ON_ITS_WAY), SeriesRow.instance_count > 0)
    return bool(requeue.open_jobs(session)) or session.scalars(waiting.limit(1)).first() is not None


def is_delivered(series: PushedSeries, stored: Sequence[StoredObject]) -> bool:
    """Whether the PACS holds a result of all that was answered."""
    return {item.modality for item in stored if item.made_of == series.answered} >= set(_EXPECTED)


def judge(
    series: PushedSeries, stored: Sequence[StoredObject], letter: str | None, *, has_committed: bool = True
) -> SeriesFate:
    """Judge one series by everything that came to the PACS of its study.

    Parameters
    ----------
    letter
        As `Standing` has it.
    has_committed
        Whether the storage of all its instances was committed to, if that was asked for.
    """
    distinct = {item.sop_instance_uid for item in stored}
    fate, reason = _fate(series, stored, letter)
    if fate in GOOD and not has_committed:
        fate, reason = Fate.UNCOMMITTED, "no report of storage commitment names all its instances as stored"
    return SeriesFate(
        number=series.number,
        instances=len(series.files),
        answered=len(series.answered),
        fate=fate,
        reason=reason,
        objects=len(distinct),
        resent=len(stored) - len(distinct),
    )


def _fate(series: PushedSeries, stored: Sequence[StoredObject], letter: str | None) -> tuple[Fate, str]:
    found: defaultdict[tuple[frozenset[str], str], set[str]] = defaultdict(set)
    for item in stored:
        found[item.made_of, item.modality].add(item.sop_instance_uid)
    wrong = _wrong(stored, found)
    if wrong is not None:
        return Fate.DUPLICATED, wrong
    if any(not made_of <= series.files.keys() for made_of, _ in found):
        return Fate.CONTRADICTED, "an object names images that are not of this series"
    unanswered = len(series.files) - len(series.answered)
    if unanswered:
        return Fate.UNANSWERED, f"{unanswered} instances found no Success in time"
    missing = [modality for modality in _EXPECTED if (frozenset(series.answered), modality) not in found]
    if missing:
        lost = f"no {' and no '.join(missing)} of all {len(series.answered)} instances at the PACS"
        return (Fate.DEAD_LETTER, letter) if letter else (Fate.LOST, lost)
    return (Fate.CONTRADICTED, f"delivered, yet {letter}") if letter else (Fate.DELIVERED, "")


def _wrong(stored: Sequence[StoredObject], found: Mapping[tuple[frozenset[str], str], set[str]]) -> str | None:
    """Return what is there more than once, or None."""
    contents: defaultdict[str, set[str]] = defaultdict(set)
    for item in stored:
        contents[item.sop_instance_uid].add(item.sha256)
    if any(len(digests) > 1 for digests in contents.values()):
        return "one SOP Instance UID came with two contents"
    for (_, modality), uids in found.items():
        if len(uids) > 1:
            return f"{len(uids)} objects of modality {modality} of one revision"
    return None
