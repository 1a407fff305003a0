"""What the queue carries: ids only, never patient data."""

from dataclasses import dataclass
from enum import StrEnum


class JobKind(StrEnum):
    """The queues, one per kind of work."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"


class Priority(StrEnum):
    """How urgent a job is."""

    STAT = "stat"
    ROUTINE = "routine"
    BACKGROUND = "background"


@dataclass(frozen=True)
class Job:
    """One unit of work.

    Attributes
    ----------
    subject_id
        The analysis or the delivery in our own tables.
    attempt
        Counts enqueues of the same subject; part of the job's id, since an id runs once.
    delay_s
        How long the job waits before it may be claimed.
    """

    kind: JobKind
    subject_id: str
    attempt: int = 1
    priority: Priority = Priority.ROUTINE
    delay_s: float = 0.0

    @property
    def job_id(self) -> str:
        """Stable id: the same job enqueued twice is one job."""
        return f"{self.kind}:{self.subject_id}:{self.attempt}"
