"""The way in from a chosen series to its analysis, in our tables. Holds the keys; has no torch."""

import contextlib
from dataclasses import dataclass

from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.keys import PseudonymKeys
from covnode.errors import DeidentificationRefused, StaleClaim, TransientError
from covnode.logs import get_logger
from covnode.pipeline.intake import Intake
from covnode.records.identity import Identity
from covnode.records.job import SeriesState
from covnode.records.series import DeidentifiedSeries, ReceivedInstance, ReceivedSeries
from covnode.store import analyses, series
from covnode.store.tables import SeriesRow
from covnode.store.vault import IdentityVault
from covnode.wiring.node import Node

_MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class IntakeInStore:
    """pipeline.intake's records, in our tables."""

    node: Node
    vault: IdentityVault

    def received(self, series_id: str) -> ReceivedSeries:
        """Return the files of the series as received."""
        with self.node.transaction() as session:
            row = session.get_one(SeriesRow, series_id)
            instances = tuple(
                ReceivedInstance(self.node.home.spool / instance.file_name, instance.content_sha256)
                for instance in series.instances_of(session, series_id)
                if not instance.ignored
            )
            return ReceivedSeries(series_id, row.revision, instances)

    def quarantine(self, received: ReceivedSeries, refusal: DeidentificationRefused) -> None:
        """Stop the series here and keep the reason."""
        with self.node.transaction() as session:
            series.quarantine(session, received.series_id, received.revision, refusal.code, str(refusal))
        get_logger().error("series_quarantined", series_id=received.series_id, code=refusal.code, reason=str(refusal))

    def hand_over(self, deidentified: DeidentifiedSeries, identity: Identity) -> str:
        """Keep the identity, open the analysis, enqueue it, move the series on: in one transaction."""
        with self.node.transaction() as session:
            series.mark_handed_over(session, deidentified.series_id, deidentified.revision)
            self.vault.keep(session, deidentified.series_id, deidentified.revision, identity)
            job = analyses.open_analysis(session, deidentified)
            self.node.queue.enqueue(session, job)
        get_logger().info("series_queued", series_id=deidentified.series_id, analysis_id=job.subject_id)
        return job.subject_id


@dataclass(frozen=True)
class TakingIn:
    """Takes the chosen series in, one after the other."""

    node: Node
    intake: Intake

    def run_once(self) -> None:
        """Take in what is chosen now.

        Raises
        ------
        TransientError
            The database is away.
        """
        with self.node.transaction() as session:
            chosen = series.in_state(session, SeriesState.CHOSEN)
        for row in chosen:
            with self.node.transaction() as session:
                attempts = series.count_intake(session, row.series_id)
            try:
                self.intake.take(row.series_id)
            except StaleClaim:
                get_logger().info("series_reopened", series_id=row.series_id)
            except TransientError:
                raise
            except Exception as error:  # noqa: BLE001 (the edge of the loop: one series must not stop the others)
                self._give_up(row, attempts, type(error).__name__)

    def _give_up(self, row: SeriesRow, attempts: int, error: str) -> None:
        get_logger().error("intake_failed", series_id=row.series_id, attempt=attempts, error=error)
        if attempts >= _MAX_ATTEMPTS:
            reason = f"the intake failed {attempts} times with {error}"
            with contextlib.suppress(StaleClaim), self.node.transaction() as session:
                series.quarantine(session, row.series_id, row.revision, "intake_failed", reason)


def build_intake(node: Node, keys: PseudonymKeys) -> Intake:
    """Wire the intake of this node."""

    def deidentify(received: ReceivedSeries) -> tuple[DeidentifiedSeries, Identity]:
        out = node.home.deidentified / f"{received.series_id}-r{received.revision}"
        return deidentify_series(received, out, keys)

    return Intake(IntakeInStore(node, IdentityVault(keys.vault_key)), deidentify)
