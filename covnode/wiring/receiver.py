"""The receiver process: the SCP, the assembly of series, and the intake. Holds the keys; has no torch."""

import contextlib
import tempfile
import threading
from dataclasses import dataclass

from covnode.clock import utc_now
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.keys import PseudonymKeys
from covnode.errors import DeidentificationRefused, RowExists, StaleClaim, TransientError
from covnode.logs import get_logger
from covnode.pipeline.intake import Intake
from covnode.receive.assembly import AssociationLedger, IdleTimes, evidence_of_completeness
from covnode.receive.scp import Listener, StorageScp
from covnode.receive.spool import IncomingInstance, clear_incoming, make_durable
from covnode.records.identity import Identity
from covnode.records.job import SeriesState
from covnode.records.series import DeidentifiedSeries, ReceivedInstance, ReceivedSeries
from covnode.settings import Home
from covnode.store import analyses, series
from covnode.store.tables import SeriesRow
from covnode.store.vault import IdentityVault
from covnode.wiring.node import Node, open_process, stop_event

_TICK_S = 0.5
_ABANDONED_S = 3600.0
_MAX_INTAKE_ATTEMPTS = 3


@dataclass(frozen=True)
class Spooler:
    """Makes a received instance durable: file, folder, row."""

    node: Node
    keys: PseudonymKeys

    def keep(self, instance: IncomingInstance, source_ae_title: str) -> str:
        """Return our series id once the instance is durable."""
        try:
            return self._keep(instance, source_ae_title)
        except RowExists:
            return self._keep(instance, source_ae_title)

    def _keep(self, instance: IncomingInstance, source_ae_title: str) -> str:
        digest = self.keys.digest(instance.study_instance_uid, instance.series_instance_uid)
        with self.node.transaction() as session:
            series_id = series.series_id_of(session, digest, source_ae_title)
        name = make_durable(instance, self.node.home.spool / series_id)
        spooled = series.SpooledInstance(
            sop_digest=self.keys.digest(instance.sop_instance_uid),
            content_sha256=instance.content_sha256,
            file_name=name,
            size_bytes=instance.size_bytes,
            sop_class_uid=instance.sop_class_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
        )
        with self.node.transaction() as session:
            series.add_instance(session, series_id, spooled)
        return series_id


@dataclass(frozen=True)
class IntakeInStore:
    """pipeline.intake's records, in our tables."""

    node: Node
    vault: IdentityVault

    def received(self, series_id: str) -> ReceivedSeries:
        """Return the files of the series as received."""
        with self.node.transaction() as session:
            row = session.get_one(SeriesRow, series_id)
            folder = self.node.home.spool / series_id
            instances = tuple(
                ReceivedInstance(folder / instance.file_name, instance.content_sha256)
                for instance in series.instances_of(session, series_id)
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
class Assembler:
    """Finds the series that are complete and takes them in, one after the other."""

    node: Node
    ledger: AssociationLedger
    intake: Intake

    def run(self, stopping: threading.Event) -> None:
        """Look twice a second until asked to stop."""
        while not stopping.wait(_TICK_S):
            try:
                self._complete()
                self._take_in()
                clear_incoming(self.node.home.incoming, untouched_s=_ABANDONED_S)
            except TransientError as error:
                get_logger().warning("assembly_postponed", reason=str(error))

    def _complete(self) -> None:
        receive = self.node.settings.receive
        idle = IdleTimes(receive.idle_s, receive.aborted_idle_s)
        with self.node.transaction() as session:
            waiting = series.in_state(session, SeriesState.RECEIVING)
        for row in waiting:
            quiet_s = (utc_now() - row.last_instance_at).total_seconds()
            evidence = evidence_of_completeness(self.ledger.end_of(row.series_id), quiet_s, idle)
            if evidence is None:
                continue
            try:
                with self.node.transaction() as session:
                    series.mark_complete(session, row.series_id, row.revision, evidence)
            except StaleClaim:
                continue
            self.ledger.forget(row.series_id)
            get_logger().info(
                "series_complete", series_id=row.series_id, instances=row.instance_count, evidence=evidence
            )

    def _take_in(self) -> None:
        with self.node.transaction() as session:
            complete = series.in_state(session, SeriesState.COMPLETE)
        for row in complete:
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
        if attempts >= _MAX_INTAKE_ATTEMPTS:
            reason = f"the intake failed {attempts} times with {error}"
            with contextlib.suppress(StaleClaim), self.node.transaction() as session:
                series.quarantine(session, row.series_id, row.revision, "intake_failed", reason)


def build_intake(node: Node, keys: PseudonymKeys) -> Intake:
    """Wire the intake of this node."""

    def deidentify(received: ReceivedSeries) -> tuple[DeidentifiedSeries, Identity]:
        out = node.home.deidentified / f"{received.series_id}-r{received.revision}"
        return deidentify_series(received, out, keys)

    return Intake(IntakeInStore(node, IdentityVault(keys.vault_key)), deidentify)


def run_receiver(home: Home) -> None:
    """Run until asked to stop."""
    node = open_process(home, "receiver")
    keys = PseudonymKeys.load(home.keys)
    home.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
    clear_incoming(home.incoming, untouched_s=0.0)
    # pynetdicom streams each data set into the process's temporary folder: the same file system as the
    # spool, so that the move into it is a rename.
    tempfile.tempdir = str(home.incoming)
    ledger = AssociationLedger()
    receive = node.settings.receive
    listener = Listener(
        node.settings.node.ae_title,
        receive.bind,
        receive.port,
        receive.max_associations,
        receive.network_timeout_s,
    )
    scp = StorageScp(listener, ledger, Spooler(node, keys).keep)
    stopping = stop_event()
    scp.start()
    get_logger().info("listening", ae_title=listener.ae_title, bind=listener.bind, port=scp.port)
    Assembler(node, ledger, build_intake(node, keys)).run(stopping)
    scp.stop()
