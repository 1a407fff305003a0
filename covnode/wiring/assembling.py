"""Finds the series that are complete: the evidence and the rules of receive.assembly, in our tables.

Comes from the recorder, after the instances of a series; goes to choosing. A series of a study that names several
patients goes to quarantine instead. Looks at the instances of quiet series only.
"""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.logs import get_logger
from covnode.receive.assembly import WATCHDOG, AssociationLedger, Verdict, least_wait_s, verdict
from covnode.receive.evidence import OPEN, Contents, Evidence, ExpectedBy, contents_of
from covnode.records.job import SeriesState
from covnode.store import series
from covnode.store.executors import RECEIVER
from covnode.store.tables import SeriesRow
from covnode.wiring.counting import Count, SourceCounts, count_by_find
from covnode.wiring.lacking import quarantine_without_files
from covnode.wiring.node import Node


@dataclass(frozen=True)
class _Complete:
    """A series that is complete, and why."""

    row: SeriesRow
    evidence: Evidence
    verdict: Verdict


@dataclass(frozen=True)
class Assembling:
    """Moves series from RECEIVING to COMPLETE, or to QUARANTINED where their study names several patients.

    Attributes
    ----------
    count
        Asks a peer how many instances a series has.
    """

    node: Node
    ledger: AssociationLedger
    count: Count = count_by_find
    # Of series that are quiet, so that they are summed up once, not at every look.
    _contents: dict[str, tuple[int, int, Contents]] = field(default_factory=dict)

    @cached_property
    def counts(self) -> SourceCounts:
        """What the sources of the series say."""
        return SourceCounts(self.node.settings, self.count)

    def run_once(self) -> None:
        """Close what is complete now.

        Raises
        ------
        TransientError
            The database is away.
        """
        with self.node.transaction() as session:
            waiting = series.in_state(session, SeriesState.RECEIVING, self.node.executor_id(RECEIVER))
        self._forget_others({row.series_id for row in waiting})
        now = utc_now()
        complete = [found for row in waiting if (found := self._judge(row, now))]
        studies = {found.row.study_id for found in complete if found.row.study_id is not None}
        if not complete:
            return
        with self.node.transaction() as session:
            conflicts = series.conflicting_studies(session, studies)
        for found in complete:
            self._close(found, conflicts.get(found.row.study_id or "", 0))

    def _judge(self, row: SeriesRow, now: datetime) -> _Complete | None:
        limits = self.node.settings.completeness
        association = self.ledger.end_of(row.series_id) or OPEN
        quiet_s = (now - row.last_instance_at).total_seconds()
        age_s = (now - row.state_at).total_seconds()
        if quiet_s < least_wait_s(association, limits) and age_s < limits.watchdog_s:
            return None
        contents = self._contents_of(row)
        is_counted = contents.expected_by_tag == contents.instances
        if not is_counted and age_s < limits.watchdog_s and self._is_asked(row, quiet_s):
            return None
        evidence = Evidence(association, quiet_s, age_s, contents, *self._expected(row, contents))
        found = verdict(evidence, limits)
        return _Complete(row, evidence, found) if found else None

    def _contents_of(self, row: SeriesRow) -> Contents:
        revision, instances, contents = self._contents.get(row.series_id, (0, 0, None))
        if contents is None or (revision, instances) != (row.revision, row.instance_count):
            with self.node.transaction() as session:
                contents = contents_of(series.facts_of(session, row.series_id))
            self._contents[row.series_id] = (row.revision, row.instance_count, contents)
        return contents

    def _expected(self, row: SeriesRow, contents: Contents) -> tuple[int | None, ExpectedBy | None]:
        """Return how many instances are to come; what the source says goes before a tag, unless more have come."""
        counted = self.counts.answer((row.series_id, row.revision))
        if counted is not None and counted >= contents.instances:
            return counted, "c-find"
        return contents.announced

    def _is_asked(self, row: SeriesRow, quiet_s: float) -> bool:
        """Ask the source of a quiet series how many instances it has; return whether the answer is awaited."""
        if quiet_s < self.node.settings.completeness.idle_s or not self.counts.knows(row.source_ae_title):
            return False
        key = (row.series_id, row.revision)
        if not self.counts.was_asked(key):
            with self.node.transaction() as session:
                name = series.any_file_of(session, row.series_id)
            self.counts.ask(key, row.source_ae_title, self.node.home.spool / name)
        return self.counts.is_awaited(key)

    def _close(self, found: _Complete, patients: int) -> None:
        row = found.row
        why = (found.verdict.sentence, found.evidence.as_json(found.verdict.rule))
        held: list[str] = []
        try:
            with self.node.transaction() as session:
                series.mark_complete(session, row.series_id, row.revision, *why, instances=row.instance_count)
                if patients and row.study_id is not None:
                    held = series.quarantine_conflict(session, row.study_id, patients)
                why_held = None if row.series_id in held else quarantine_without_files(self.node, session, row)
        except StaleClaim:
            return  # a slice came, or a person decided, between the two looks
        self.ledger.forget(row.series_id)
        log = get_logger().bind(series_id=row.series_id, instances=row.instance_count)
        if found.verdict.rule == WATCHDOG:
            log.error("series_stuck", evidence=found.verdict.sentence, age_s=round(found.evidence.age_s))
        log.info("series_complete", evidence=found.verdict.sentence)
        if why_held is not None:
            log.error("series_quarantined", code=why_held[0], reason=why_held[1])
        for series_id in held:
            get_logger().error("series_quarantined", series_id=series_id, code=series.IDENTITY_CONFLICT)

    def _forget_others(self, waiting: set[str]) -> None:
        for series_id in self._contents.keys() - waiting:
            del self._contents[series_id]
        self.counts.forget_but(waiting)
