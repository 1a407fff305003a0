"""Chooses which complete series are analysed, in our tables: sheets from the spool, the decision, its consequences."""

import contextlib
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from pydantic import TypeAdapter

from covnode.choose.decision import Candidate, Decision, StudyNow, decide
from covnode.choose.facts import SpooledFile, facts_of
from covnode.choose.rules import SHIPPED, Rules, load_rules
from covnode.choose.score import ScoreSheet, score
from covnode.clock import utc_now
from covnode.errors import StaleClaim, TransientError
from covnode.logs import get_logger
from covnode.records.arrival import SliceFacts
from covnode.records.job import SeriesState
from covnode.settings import Home, Settings
from covnode.store import series, studies
from covnode.store.tables import SeriesRow, StudyRow
from covnode.wiring.node import Node

_MAX_ATTEMPTS = 5
_PAUSE_S = 10.0
_FACTS = TypeAdapter(SliceFacts)


def rules_file(home: Home, settings: Settings) -> Path:
    """Return the file of the rules in force: the site's, from the home folder on, or the one that ships."""
    return home.root / Path(settings.choice.rules).expanduser() if settings.choice.rules else SHIPPED


def judge(node: Node, row: SeriesRow, rules: Rules) -> ScoreSheet:
    """Make the score sheet of a series from its files in the spool.

    Raises
    ------
    TransientError
        The database or the storage is away.
    """
    with node.transaction() as session:
        files = [
            SpooledFile(node.home.spool / instance.file_name, _FACTS.validate_python(instance.facts or {}))
            for instance in series.instances_of(session, row.series_id)
            if not instance.ignored
        ]
    sheet = score(facts_of(files, rules.keywords), rules, row.revision)
    return sheet.model_copy(update={"by_hand": bool((row.score_sheet or {}).get("by_hand"))})


def kept_sheet(row: SeriesRow) -> ScoreSheet | None:
    """Return the score sheet that was kept of this revision of the series."""
    if not row.score_sheet or row.score_sheet.get("revision") != row.revision:
        return None
    return ScoreSheet.model_validate(row.score_sheet)


@dataclass
class _Trouble:
    """A study whose decision failed: how often, and when it is tried again."""

    failures: int = 0
    not_before_s: float = 0.0


@dataclass
class Choosing:
    """Moves series from COMPLETE to CHOSEN or NOT_CHOSEN.

    Raises
    ------
    ConfigurationError
        When it is made, and the file of rules cannot be used.
    """

    node: Node
    _rules: Rules = field(init=False)
    _troubles: dict[str, _Trouble] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._rules = load_rules(rules_file(self.node.home, self.node.settings))

    def run_once(self) -> None:
        """Choose among what is complete now; a study that fails is tried again later and stops no other.

        Raises
        ------
        TransientError
            The database is away.
        """
        with self.node.transaction() as session:
            study_ids = studies.waiting(session)
            alone = studies.without_study(session)
        for row in alone:
            with contextlib.suppress(StaleClaim), self.node.transaction() as session:
                series.mark_chosen(session, row.series_id, row.revision)
        for gone in set(self._troubles) - set(study_ids):
            del self._troubles[gone]
        for study_id in study_ids:
            trouble = self._troubles.get(study_id)
            if trouble is None or time.monotonic() >= trouble.not_before_s:
                self._try(study_id)

    def _try(self, study_id: str) -> None:
        try:
            self._decide(study_id)
        except StaleClaim:
            return  # a slice came meanwhile: the next look sees it
        except TransientError as error:
            self._postpone(study_id, str(error), attempts=0)
        except Exception as error:  # noqa: BLE001 (the edge of the loop: one study must not stop the others)
            self._postpone(study_id, type(error).__name__, attempts=1)
        else:
            self._troubles.pop(study_id, None)

    def _postpone(self, study_id: str, error: str, *, attempts: int) -> None:
        """Note a failure; after several, stop the study's series where a person sees them.

        Parameters
        ----------
        attempts
            How many it counts as: none where the storage is away, which is no fault of the study.

        Raises
        ------
        TransientError
            The database is away.
        """
        with self.node.transaction() as session:
            rows = [row for row in studies.series_of(session, study_id) if row.state == SeriesState.COMPLETE]
        trouble = self._troubles.setdefault(study_id, _Trouble())
        trouble.failures += attempts
        trouble.not_before_s = time.monotonic() + _PAUSE_S
        get_logger().error("choice_failed", study_id=study_id, attempt=trouble.failures, error=error)
        if trouble.failures < _MAX_ATTEMPTS:
            return
        reason = f"the choice among the series of {study_id} failed {trouble.failures} times with {error}"
        for row in rows:
            with contextlib.suppress(StaleClaim), self.node.transaction() as session:
                series.quarantine(session, row.series_id, row.revision, "choice_failed", reason)

    def _decide(self, study_id: str) -> None:
        with self.node.transaction() as session:
            study = session.get_one(StudyRow, study_id)
            rows = studies.series_of(session, study_id)
        sheets = {
            row.series_id: self._sheet(row)
            for row in rows
            if row.state == SeriesState.COMPLETE or row.series_id == study.chosen_series_id
        }
        choice = self.node.settings.choice
        now = StudyNow(
            tuple(Candidate(row.series_id, SeriesState(row.state), sheets.get(row.series_id)) for row in rows),
            study.chosen_series_id,
            quiet=utc_now() - study.last_instance_at >= timedelta(seconds=choice.study_idle_s),
            stat=study.stat,
        )
        decision = decide(now, choice.analyse)
        if decision.verdicts:
            self._carry_out(study, {row.series_id: row for row in rows}, decision)

    def _sheet(self, row: SeriesRow) -> ScoreSheet:
        """Return the kept sheet of this revision by these rules, or make and keep it."""
        kept = kept_sheet(row)
        if kept and kept.headers_read and kept.rules_sha256 == self._rules.sha256:
            return kept
        sheet = judge(self.node, row, self._rules)
        if kept and not sheet.headers_read:
            return kept  # its files are gone: what was known of them still holds
        with self.node.transaction() as session:
            studies.keep_sheet(session, row.series_id, row.revision, sheet.model_dump(mode="json"))
        return sheet

    def _carry_out(self, study: StudyRow, rows: dict[str, SeriesRow], decision: Decision) -> None:
        revision = study.choice_revision
        with self.node.transaction() as session:
            for verdict in decision.verdicts:
                row = rows[verdict.series_id]
                if verdict.chosen:
                    series.mark_chosen(session, row.series_id, row.revision)
                else:
                    studies.pass_over(session, row.series_id, row.revision, verdict.code or "", verdict.reason or "")
            if decision.best is not None:
                revision = studies.set_choice(session, study, decision.best)
            if decision.replaces is not None:
                reason = f"{decision.best}, which came later, is the better series of the study"
                studies.supersede(session, decision.replaces, reason)
        for verdict in decision.verdicts:
            get_logger().info(
                "series_chosen" if verdict.chosen else "series_not_chosen",
                series_id=verdict.series_id,
                study_id=study.study_id,
                choice_revision=revision,
                **({} if verdict.chosen else {"code": verdict.code, "reason": verdict.reason}),
            )
