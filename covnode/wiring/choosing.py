"""Chooses which complete series are analysed, in our tables."""

from dataclasses import dataclass

from covnode.records.job import SeriesState
from covnode.store import series
from covnode.wiring.node import Node


@dataclass(frozen=True)
class Choosing:
    """Moves series from COMPLETE to CHOSEN or NOT_CHOSEN."""

    node: Node

    def run_once(self) -> None:
        """Choose among what is complete now.

        Raises
        ------
        TransientError
            The database is away.
        """
        with self.node.transaction() as session:
            for row in series.in_state(session, SeriesState.COMPLETE):
                series.mark_chosen(session, row.series_id, row.revision)
