"""The way in from a chosen series to its analysis, in our tables. Holds the keys; has no torch."""

import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.key_file import KeyFile
from covnode.errors import DeidentificationRefused, StaleClaim, StoreAway, TransientError
from covnode.home import Home
from covnode.logs import get_logger
from covnode.pipeline.intake import Intake
from covnode.records.identity import Identity
from covnode.records.job import SeriesState
from covnode.records.series import DeidentifiedSeries, ReceivedInstance, ReceivedSeries
from covnode.store import analyses, series, studies
from covnode.store.executors import RECEIVER
from covnode.store.folders import unpublished
from covnode.store.sealing import Seals
from covnode.store.tables import SeriesRow
from covnode.store.vault import IdentityVault
from covnode.wiring.deidentify_profile import profile_of_the_node
from covnode.wiring.handover import name_of_copy
from covnode.wiring.lacking import quarantine_without_files
from covnode.wiring.node import Node
from covnode.wiring.patients import PatientsInStore
from covnode.wiring.setbacks import MAX_STORAGE_ATTEMPTS, Cause, Setbacks, StuckReport, cause_of, in_words

_MAX_ATTEMPTS = 3
_PAUSE_S = 5.0
_STORE = "the object store"


@dataclass(frozen=True)
class IntakeInStore:
    """pipeline.intake's records, in our tables."""

    node: Node
    vault: IdentityVault

    def received(self, series_id: str) -> ReceivedSeries:
        """Return the files of the series as received; StoreAway where its copy could not be handed over."""
        self.node.handover.require()
        with self.node.transaction() as session:
            row = session.get_one(SeriesRow, series_id)
            instances = tuple(
                ReceivedInstance(self.node.home.spool / instance.file_name, instance.content_digest)
                for instance in series.input_of(session, series_id)
            )
            return ReceivedSeries(series_id, row.revision, instances)

    def quarantine(self, received: ReceivedSeries, refusal: DeidentificationRefused) -> None:
        """Stop the series here and keep the reason."""
        with self.node.transaction() as session:
            series.quarantine(session, received.series_id, received.revision, refusal.code, str(refusal))
        get_logger().error("series_quarantined", series_id=received.series_id, code=refusal.code, reason=str(refusal))

    def hand_over(self, deidentified: DeidentifiedSeries, identity: Identity) -> str:
        """Keep the identity, open the analysis, enqueue it, move the series on: in one transaction.

        The copy gets its name in it, too: the lock of the row keeps a receiver that was taken for dead from putting
        its own in the place of one that a worker is reading.
        """
        home, handover = self.node.home, self.node.handover
        series_id, revision = deidentified.series_id, deidentified.revision
        made, name = being_made(home, deidentified), name_of_copy(series_id, revision)
        place = handover.upload(made, name, home.host)
        try:
            with self.node.transaction() as session:
                studies.hold(session, series_id)
                series.mark_handed_over(session, series_id, revision)
                handover.publish(made, home.copy_of(series_id, revision), place)
                self.vault.keep(session, series_id, revision, identity)
                job = analyses.open_analysis(session, deidentified, place)
                self.node.queue.enqueue(session, job)
        except StaleClaim:
            shutil.rmtree(made, ignore_errors=True)
            raise
        with contextlib.suppress(StoreAway):
            handover.settle(made, name, place)
        get_logger().info("series_queued", series_id=deidentified.series_id, analysis_id=job.subject_id)
        return job.subject_id


@dataclass
class TakingIn:
    """Takes the chosen series in, one after the other; what fails is tried again after a pause that grows."""

    node: Node
    intake: Intake
    _setbacks: Setbacks = field(default_factory=lambda: Setbacks(_PAUSE_S))
    _stuck: StuckReport = field(init=False)

    def __post_init__(self) -> None:
        self._stuck = StuckReport(self.node.settings.completeness.watchdog_s)

    def run_once(self) -> None:
        """Take in what is chosen now.

        Raises
        ------
        TransientError
            The database is away.
        """
        with self.node.transaction() as session:
            chosen = series.in_state(session, SeriesState.CHOSEN, self.node.executor_id(RECEIVER))
        self._stuck.look(chosen)
        self._setbacks.forget_but({_STORE, *(row.series_id for row in chosen)})
        try:
            for row in chosen:
                if self._setbacks.is_due(_STORE) and self._setbacks.is_due(row.series_id):
                    self._take(row)
        except StoreAway as error:
            # It says nothing of the series: all wait, and however long.
            self._setbacks.note(_STORE, Cause.NO_ROOM)
            get_logger().warning("intake_waits_for_store", series=len(chosen), reason=str(error))

    def _take(self, row: SeriesRow) -> None:
        try:
            if not self._is_without_files(row):
                self.intake.take(row.series_id)
                self._setbacks.forget(_STORE)
        except StaleClaim:
            get_logger().info("series_reopened", series_id=row.series_id)
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001 (the edge of the loop: one series must not stop the others)
            self._set_back(row, error)

    def _is_without_files(self, row: SeriesRow) -> bool:
        """Whether retention removed files of it; then it goes to quarantine."""
        with self.node.transaction() as session:
            why = quarantine_without_files(self.node, session, row)
        if why is not None:
            get_logger().error("series_quarantined", series_id=row.series_id, code=why[0], reason=why[1])
        return why is not None

    def _set_back(self, row: SeriesRow, error: Exception) -> None:
        """Note a failure; after several that may be the series' own, stop it where a person sees it."""
        cause, said = cause_of(error), in_words(error)
        attempts = self._setbacks.note(row.series_id, cause)
        if cause == Cause.OTHER:
            with self.node.transaction() as session:
                attempts = series.count_intake(session, row.series_id)
        get_logger().error("intake_failed", series_id=row.series_id, attempt=attempts, error=said)
        # A full disk says nothing of a series: there it waits, and is reported when it has waited for too long.
        limit = {Cause.OTHER: _MAX_ATTEMPTS, Cause.STORAGE: MAX_STORAGE_ATTEMPTS}.get(cause)
        if limit is not None and attempts >= limit:
            reason = f"the intake failed {attempts} times with {said}"
            with contextlib.suppress(StaleClaim), self.node.transaction() as session:
                series.quarantine(session, row.series_id, row.revision, "intake_failed", reason)


def being_made(home: Home, series: ReceivedSeries | DeidentifiedSeries) -> Path:
    """Return the folder in which this host makes the de-identified copy of a series."""
    return unpublished(home.copy_of(series.series_id, series.revision), home.host)


def build_intake(node: Node, keys: KeyFile) -> Intake:
    """Wire the intake of this node.

    Raises
    ------
    ConfigurationError
        Its settings ask for options that its copies do not take.
    """
    known = PatientsInStore(node.transaction, keys)
    profile = profile_of_the_node(node.settings.deidentify)

    def deidentify(received: ReceivedSeries) -> tuple[DeidentifiedSeries, Identity]:
        return deidentify_series(received, being_made(node.home, received), known, profile)

    return Intake(IntakeInStore(node, IdentityVault(Seals(keys))), deidentify)
