"""Finds the series that are complete: the evidence of receive.assembly, in our tables."""

from dataclasses import dataclass

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.logs import get_logger
from covnode.receive.assembly import AssociationLedger, IdleTimes, evidence_of_completeness
from covnode.records.job import SeriesState
from covnode.store import series
from covnode.wiring.node import Node


@dataclass(frozen=True)
class Assembling:
    """Moves series from RECEIVING to COMPLETE."""

    node: Node
    ledger: AssociationLedger

    def run_once(self) -> None:
        """Close what is complete now.

        Raises
        ------
        TransientError
            The database is away.
        """
        settings = self.node.settings.completeness
        idle = IdleTimes(settings.idle_s, settings.aborted_idle_s)
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
