"""The way in: a complete series becomes a de-identified copy and an analysis in the queue.

Comes from receive (spool and rows); goes to the worker by the queue. Holds the order of things and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from covnode.errors import DeidentificationRefused
from covnode.records.identity import Identity
from covnode.records.series import DeidentifiedSeries, ReceivedSeries

Deidentify = Callable[[ReceivedSeries], tuple[DeidentifiedSeries, Identity]]
"""Writes the de-identified copy; DeidentificationRefused when it cannot be proved clean."""


class IntakeRecords(Protocol):
    """What the store does for the intake, each in one transaction."""

    def received(self, series_id: str) -> ReceivedSeries:
        """Return the files of the series as received."""
        ...

    def quarantine(self, series: ReceivedSeries, refusal: DeidentificationRefused) -> None:
        """Stop the series here and keep the reason."""
        ...

    def hand_over(self, series: DeidentifiedSeries, identity: Identity) -> str:
        """Keep the identity, open the analysis, enqueue it, move the series on; return the analysis id."""
        ...


@dataclass(frozen=True)
class Intake:
    """receive -> deidentify -> queue."""

    records: IntakeRecords
    deidentify: Deidentify

    def take(self, series_id: str) -> str | None:
        """Take a complete series in; return the id of its analysis, or None when it was quarantined.

        Raises
        ------
        StaleClaim
            A late slice came meanwhile: the next revision will be taken in.
        """
        series = self.records.received(series_id)
        try:
            deidentified, identity = self.deidentify(series)
        except DeidentificationRefused as refusal:
            self.records.quarantine(series, refusal)
            return None
        return self.records.hand_over(deidentified, identity)
