"""The decision: which series of a study are analysed, and why the others are not. Pure: no clock, no I/O.

Comes from the score sheets of a study; goes to wiring, which carries it out. Every series that is complete gets a
verdict sooner or later: chosen, or not chosen with a reason; none is passed over in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from covnode.choose.score import ScoreSheet
from covnode.records.job import SeriesState

_PENDING = SeriesState.COMPLETE
_NO_LONGER_STANDING = (SeriesState.QUARANTINED, SeriesState.NOT_CHOSEN)


@dataclass(frozen=True)
class Candidate:
    """One series of the study; for the decision it needs a sheet when it is complete or was chosen before."""

    series_id: str
    state: SeriesState
    sheet: ScoreSheet | None = None


@dataclass(frozen=True)
class StudyNow:
    """A study as it stands.

    Attributes
    ----------
    candidates
        By arrival.
    chosen_series_id
        The series that was chosen last.
    quiet
        Nothing has come in for as long as the settings ask.
    stat
        The study does not wait.
    """

    candidates: tuple[Candidate, ...]
    chosen_series_id: str | None
    quiet: bool
    stat: bool


@dataclass(frozen=True)
class Verdict:
    """What becomes of one series; ``code`` and ``reason`` say why it is not chosen."""

    series_id: str
    chosen: bool
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Decision:
    """Verdicts on a study.

    Attributes
    ----------
    replaces
        The series chosen before, where a better one takes its place.
    """

    verdicts: tuple[Verdict, ...] = ()
    best: str | None = None
    replaces: str | None = None


def decide(study: StudyNow, mode: Literal["best", "all"]) -> Decision:
    """Judge the series of a study that are complete; no verdicts: wait."""
    pending = [candidate for candidate in study.candidates if candidate.state == _PENDING]
    if mode == "all":
        return Decision(tuple(_by_the_rules(candidate) for candidate in pending))
    if not pending or must_wait(study):
        return Decision()
    standing = standing_of(study)
    best = best_of([c for c in pending if c is not standing and not _excluded(c)], standing)
    verdicts = [Verdict(c.series_id, chosen=True) if c is best else _passed_over(c, best, known=study) for c in pending]
    if best is None or best is standing:
        return Decision(tuple(verdicts), None if best is None else best.series_id)
    if standing is not None and standing.state == SeriesState.CHOSEN:
        verdicts.append(_passed_over(standing, best, known=study))
    return Decision(tuple(verdicts), best.series_id, None if standing is None else standing.series_id)


def must_wait(study: StudyNow) -> bool:
    """Whether more is to be waited for; sheets matter only where one lets its series go at once."""
    if study.stat or hurries(study):
        return False
    return not study.quiet or any(candidate.state == SeriesState.RECEIVING for candidate in study.candidates)


def hurries(study: StudyNow) -> bool:
    """Whether a rule makes the study STAT, by a series that is complete."""
    return any(_sheet(c).priority == "stat" for c in study.candidates if c.state == _PENDING)


def standing_of(study: StudyNow) -> Candidate | None:
    """Return the series chosen before, unless it is out of the race."""
    return next(
        (
            candidate
            for candidate in study.candidates
            if candidate.series_id == study.chosen_series_id and candidate.state not in _NO_LONGER_STANDING
        ),
        None,
    )


def best_of(contenders: Sequence[Candidate], standing: Candidate | None = None) -> Candidate | None:
    """Return the best series; ``standing`` keeps its place against equals, and for good where a person chose it.

    Equal totals: the one with more slices, then with thinner ones, then the one that came first.
    """
    best = standing
    if standing is not None and _sheet(standing).by_hand:
        return standing
    for candidate in contenders:
        if best is None or _beats(candidate, best, standing):
            best = candidate
    return best


def _beats(candidate: Candidate, best: Candidate, standing: Candidate | None) -> bool:
    if best is standing:
        return _sheet(candidate).total > _sheet(best).total
    return _rank(candidate) > _rank(best)


def _rank(candidate: Candidate) -> tuple[float, int, float]:
    sheet = _sheet(candidate)
    return sheet.total, sheet.slices, -(sheet.thickness_mm or 1e6)


def _sheet(candidate: Candidate) -> ScoreSheet:
    return candidate.sheet or ScoreSheet(revision=0, rules_sha256="", total=0.0)


def _excluded(candidate: Candidate) -> bool:
    sheet = _sheet(candidate)
    return sheet.excluded is not None and not sheet.by_hand


def _by_the_rules(candidate: Candidate) -> Verdict:
    if not _excluded(candidate):
        return Verdict(candidate.series_id, chosen=True)
    return Verdict(candidate.series_id, chosen=False, code="excluded_by_rule", reason=_sheet(candidate).excluded)


def _passed_over(candidate: Candidate, best: Candidate | None, *, known: StudyNow) -> Verdict:
    sheet = _sheet(candidate)
    if _excluded(candidate) and candidate.series_id != known.chosen_series_id:
        reason = f"{sheet.excluded}"
        if best is None:
            reason += "; no series of the study passes the rules so far"
        return Verdict(candidate.series_id, chosen=False, code="excluded_by_rule", reason=reason)
    return Verdict(candidate.series_id, chosen=False, code="not_chosen", reason=_comparison(candidate, best))


def _comparison(candidate: Candidate, best: Candidate | None) -> str:
    if best is None:
        return "no series of the study was chosen"
    mine, its = _sheet(candidate), _sheet(best)
    taken = f"{best.series_id} of the same study is analysed"
    if its.by_hand:
        return f"{taken}: a person chose it"
    if mine.total != its.total:
        return f"{taken}: it scores {its.total:g}, this one {mine.total:g}"
    if mine.slices != its.slices and best.state == _PENDING:
        return f"{taken}: both score {its.total:g}, and it has more slices ({its.slices}, this one {mine.slices})"
    if mine.thickness_mm != its.thickness_mm and best.state == _PENDING:
        return f"{taken}: both score {its.total:g}, and its slices are thinner"
    return f"{taken}: both score {its.total:g}, and it came first"
