"""Chooses which complete series are analysed, in our tables: sheets from the spool, the decision, its consequences."""

import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import msgspec

from covnode.choose.decision import Candidate, Decision, StudyNow, decide, hurries, must_wait, standing_of
from covnode.choose.facts import SpooledFile, facts_of
from covnode.choose.rules import SHIPPED, Rules, load_rules
from covnode.choose.score import ScoreSheet, score
from covnode.clock import utc_now
from covnode.errors import StaleClaim, StorageAway, TransientError
from covnode.home import Home
from covnode.logs import get_logger
from covnode.records.arrival import SliceFacts
from covnode.records.job import SeriesState
from covnode.settings import Settings
from covnode.store import control, series, studies
from covnode.store.executors import RECEIVER
from covnode.store.tables import SeriesRow, StudyRow
from covnode.wiring.node import Node
from covnode.wiring.setbacks import MAX_STORAGE_ATTEMPTS, Cause, Setbacks, StuckReport, cause_of, in_words

_PAUSE_S = 10.0
_MAX_ATTEMPTS = 5


def rules_file(home: Home, settings: Settings) -> Path:
    """Return the file of the rules in force: the site's, from the home folder on, or the one that ships."""
    return home.root / Path(settings.choice.rules).expanduser() if settings.choice.rules else SHIPPED


def judge(node: Node, row: SeriesRow, rules: Rules) -> ScoreSheet:
    """Make the score sheet of a series from its files in the spool.

    Raises
    ------
    StorageAway
        A file that is there cannot be read.
    TransientError
        The database is away.
    """
    with node.transaction() as session:
        files = [
            SpooledFile(node.home.spool / instance.file_name, msgspec.convert(instance.facts or {}, SliceFacts))
            for instance in series.input_of(session, row.series_id)
        ]
    sheet = score(facts_of(files, rules.keywords), rules, row.revision)
    by_hand = bool((row.score_sheet or {}).get("by_hand"))
    return sheet.model_copy(update={"instances": row.instance_count, "by_hand": by_hand})


def kept_sheet(row: SeriesRow) -> ScoreSheet | None:
    """Return the score sheet that was kept of the series as it is: of its revision and all its instances."""
    kept = row.score_sheet or {}
    judged = (kept.get("revision"), kept.get("instances"))
    if row.state == SeriesState.RECEIVING or judged != (row.revision, row.instance_count):
        return None
    return ScoreSheet.model_validate(kept)


class _SheetFailed(Exception):  # noqa: N818 (says which series is at fault; what went wrong is its cause)
    def __init__(self, series_id: str) -> None:
        super().__init__(series_id)
        self.series_id = series_id


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
    _setbacks: Setbacks = field(init=False)
    _stuck: StuckReport = field(init=False)

    def __post_init__(self) -> None:
        self._rules = load_rules(rules_file(self.node.home, self.node.settings))
        self._setbacks = Setbacks(_PAUSE_S)
        self._stuck = StuckReport(self.node.settings.completeness.watchdog_s)

    def run_once(self) -> None:
        """Choose among what is complete now; a study that fails is tried again later and stops no other.

        Raises
        ------
        TransientError
            The database is away.
        """
        with self.node.transaction() as session:
            me = self.node.executor_id(RECEIVER)
            study_ids = studies.waiting(session, me)
            complete = series.in_state(session, SeriesState.COMPLETE, me)
        self._stuck.look(complete)
        self._setbacks.forget_but(study_ids)
        for row in complete:
            # It came in before studies were recorded.
            if row.study_id is None:
                with contextlib.suppress(StaleClaim), self.node.transaction() as session:
                    series.mark_chosen(session, row.series_id, row.revision)
        for study_id in study_ids:
            if self._setbacks.is_due(study_id):
                self._try(study_id)

    def _try(self, study_id: str) -> None:
        try:
            self._decide(study_id)
        except StaleClaim:
            return  # a slice came meanwhile: the next look sees it
        except TransientError:
            raise
        except _SheetFailed as failed:
            self._set_back(study_id, failed.__cause__ or failed, failed.series_id)
        except Exception as error:  # noqa: BLE001 (the edge of the loop: one study must not stop the others)
            self._set_back(study_id, error, None)
        else:
            self._setbacks.forget(study_id)

    def _set_back(self, study_id: str, error: BaseException, at_fault: str | None) -> None:
        """Note a failure; after several, stop the series at fault, or else all that wait, where a person sees it."""
        cause, said = cause_of(error), in_words(error)
        attempts = self._setbacks.note(study_id, cause)
        get_logger().error("choice_failed", study_id=study_id, series_id=at_fault, attempt=attempts, error=said)
        if attempts < (_MAX_ATTEMPTS if cause == Cause.OTHER else MAX_STORAGE_ATTEMPTS):
            return
        with self.node.transaction() as session:
            rows = [row for row in studies.series_of(session, study_id) if row.state == SeriesState.COMPLETE]
        reason = f"the choice among the series of {study_id} failed {attempts} times: {said}"
        for row in [row for row in rows if row.series_id == at_fault] or rows:
            with contextlib.suppress(StaleClaim), self.node.transaction() as session:
                series.quarantine(session, row.series_id, row.revision, "choice_failed", reason)
        self._setbacks.forget(study_id)

    def _decide(self, study_id: str) -> None:
        with self.node.transaction() as session:
            study = session.get_one(StudyRow, study_id)
            rows = {row.series_id: row for row in studies.series_of(session, study_id)}
        choice = self.node.settings.choice
        now = StudyNow(
            tuple(Candidate(row.series_id, SeriesState(row.state)) for row in rows.values()),
            study.chosen_series_id,
            quiet=utc_now() - study.last_instance_at >= timedelta(seconds=choice.study_idle_s),
            stat=study.stat,
        )
        is_awaited = choice.analyse == "best" and must_wait(now)
        # What is still to come cannot be judged; of what is complete only a rule of haste is of use by now.
        if is_awaited and not self._rules.may_hurry:
            return
        now = self._judged(now, rows, {c.series_id for c in now.candidates if c.state == SeriesState.COMPLETE})
        if is_awaited and must_wait(now):
            return
        standing = standing_of(now)
        if standing is not None and standing.sheet is None:
            now = self._judged(now, rows, {standing.series_id})
        decision = decide(now, choice.analyse)
        if decision.verdicts:
            self._carry_out(study, rows, decision, hurried=hurries(now))

    def _judged(self, study: StudyNow, rows: dict[str, SeriesRow], which: set[str]) -> StudyNow:
        """Return the study with the sheets of these series."""
        candidates = [
            replace(candidate, sheet=self._sheet(rows[candidate.series_id]))
            if candidate.series_id in which
            else candidate
            for candidate in study.candidates
        ]
        return replace(study, candidates=tuple(candidates))

    def _sheet(self, row: SeriesRow) -> ScoreSheet:
        """Return the kept sheet of the series as it is by these rules, or make it, and keep it of what is complete."""
        kept = kept_sheet(row)
        if kept and kept.headers_read and kept.rules_sha256 == self._rules.sha256:
            return kept
        if row.state == SeriesState.COMPLETE and row.spool not in {None, self.node.spool}:
            if kept:
                return kept
            raise StaleClaim("the host that has its files is to judge it first")
        try:
            sheet = judge(self.node, row, self._rules)
        except StorageAway as error:
            raise _SheetFailed(row.series_id) from error
        except TransientError:
            raise
        except Exception as error:
            raise _SheetFailed(row.series_id) from error
        if kept and not sheet.headers_read:
            return kept  # its files are gone: what was known of them still holds
        if row.state != SeriesState.RECEIVING:
            with self.node.transaction() as session:
                studies.keep_sheet(session, row, sheet.model_dump(mode="json"))
        return sheet

    def _carry_out(self, study: StudyRow, rows: dict[str, SeriesRow], decision: Decision, *, hurried: bool) -> None:
        revision = study.choice_revision
        with self.node.transaction() as session:
            if hurried:
                for job in control.hurry(session, StudyRow.study_id == study.study_id):
                    self.node.queue.enqueue(session, job)
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
