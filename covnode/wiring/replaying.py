"""Runs rules on studies that were chosen before, from their files in the spool: reads only, changes nothing."""

from dataclasses import dataclass

from covnode.choose.decision import Candidate, StudyNow, decide
from covnode.choose.rules import Rules
from covnode.choose.score import ScoreSheet
from covnode.errors import ConfigurationError
from covnode.records.job import SeriesState
from covnode.store import studies
from covnode.store.tables import StudyRow
from covnode.wiring.choosing import judge
from covnode.wiring.node import Node

_OUT_OF_IT = (SeriesState.RECEIVING, SeriesState.QUARANTINED)
_TAKEN = (SeriesState.CHOSEN, SeriesState.HANDED_OVER)


@dataclass(frozen=True)
class ReplayedStudy:
    """One study: what was chosen, and what the rules would choose.

    Attributes
    ----------
    sheets
        By series id; a sheet with no header behind it judges files that are no longer there.
    """

    study_id: str
    chosen: tuple[str, ...]
    would_choose: tuple[str, ...]
    sheets: dict[str, ScoreSheet]

    @property
    def unreadable(self) -> int:
        """Series without a readable file."""
        return sum(sheet.headers_read == 0 for sheet in self.sheets.values())


def past_studies(node: Node, study_id: str | None, limit: int) -> list[str]:
    """Return one study, or the newest ones.

    Raises
    ------
    ConfigurationError
        There is no such study.
    """
    with node.transaction() as session:
        if study_id is None:
            return studies.newest(session, limit)
        if session.get(StudyRow, study_id) is None:
            raise ConfigurationError(
                f"there is no study {study_id}: 'covnode series show' names the study of a series."
            )
    return [study_id]


def replay(node: Node, rules: Rules, study_id: str) -> ReplayedStudy:
    """Judge a study by these rules, as if it had just come in whole."""
    with node.transaction() as session:
        study = session.get_one(StudyRow, study_id)
        rows = [row for row in studies.series_of(session, study_id) if row.state not in _OUT_OF_IT]
    sheets = {row.series_id: judge(node, row, rules).model_copy(update={"by_hand": False}) for row in rows}
    candidates = tuple(Candidate(row.series_id, SeriesState.COMPLETE, sheets[row.series_id]) for row in rows)
    mode = node.settings.choice.analyse
    decision = decide(StudyNow(candidates, None, quiet=True, stat=False), mode)
    would = tuple(verdict.series_id for verdict in decision.verdicts if verdict.chosen)
    one = study.chosen_series_id if mode == "best" else None
    chosen = (one,) if one else tuple(row.series_id for row in rows if row.state in _TAKEN)
    return ReplayedStudy(study_id, chosen, would, sheets)
