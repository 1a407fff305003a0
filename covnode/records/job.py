"""What the queue carries and what a claimed job knows: ids only, never patient data."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Literal


class JobKind(StrEnum):
    """The queues, one per kind of work."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"


class Priority(IntEnum):
    """What is claimed first: the lower number; within one, what was queued first."""

    STAT = 1
    ROUTINE = 10
    BACKGROUND = 20

    @property
    def word(self) -> "PriorityWord":
        """The priority as people write it."""
        return _WORDS[self]


PriorityWord = Literal["stat", "routine", "background"]
_WORDS: dict[Priority, PriorityWord] = {
    Priority.STAT: "stat",
    Priority.ROUTINE: "routine",
    Priority.BACKGROUND: "background",
}


def priority_of(word: PriorityWord) -> Priority:
    """Return the priority that a word names."""
    return Priority[word.upper()]


class SeriesState(StrEnum):
    """Where a series stands before its analysis; COMPLETE ones wait until their study is quiet and one is chosen."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    CHOSEN = "chosen"
    NOT_CHOSEN = "not_chosen"
    QUARANTINED = "quarantined"
    HANDED_OVER = "handed_over"


class AnalysisState(StrEnum):
    """Where an analysis stands.

    SUPERSEDED: late slices made a newer revision before this one ended; CANCELLED: a person stopped it.
    """

    QUEUED = "queued"
    RUNNING = "running"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """Where a delivery stands.

    BLOCKED: the interlock or the peer said no for good; FAILED: given up; CANCELLED: a person stopped it.
    """

    QUEUED = "queued"
    SENDING = "sending"
    DELIVERED = "delivered"
    BLOCKED = "blocked"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class WaitsFor(StrEnum):
    """What a queued delivery without a job waits for.

    An away destination, an earlier delivery of its study, or another one that a sender died of or beside: such are sent
    one at a time.
    """

    DESTINATION = "destination"
    STUDY = "study"
    SUSPECT = "suspect"


OPEN_ANALYSES = (AnalysisState.QUEUED, AnalysisState.RUNNING)
OPEN_DELIVERIES = (DeliveryState.QUEUED, DeliveryState.SENDING)
"""What has not ended."""

PARKED_DELIVERIES = (DeliveryState.BLOCKED, DeliveryState.FAILED)
"""Dead letters, beside analyses that FAILED: they wait for a person."""


MAX_CRASHES = 3
"""A job that so many processes died of is given up: it would end the next one, too."""


def queue_name(kind: JobKind, destination: str | None = None, spool: str | None = None) -> str:
    """Return the name of a queue: deliveries have one for each destination, of each spool where hosts share none."""
    name = str(kind) if destination is None else f"{kind}.{destination}"
    return name if spool is None else f"{name}@{spool}"


def enqueues_of(job_id: str) -> int:
    """Return the count of enqueues that a job's id ends with."""
    return int(job_id.rsplit(":", 1)[1])


@dataclass(frozen=True)
class Job:
    """One unit of work.

    Attributes
    ----------
    subject_id
        The analysis or the delivery in our own tables.
    enqueues
        Counts enqueues of the same subject; part of the job's id, since an id runs once. A job whose count is not the
        subject's own any more is void.
    destination
        Of a delivery: each destination has a queue of its own.
    delay_s
        How long the job waits before it may be claimed.
    spool
        The one beside which it must run; None: anywhere.
    """

    kind: JobKind
    subject_id: str
    enqueues: int = 1
    destination: str | None = None
    priority: int = Priority.ROUTINE
    delay_s: float = 0.0
    spool: str | None = None

    @property
    def queue(self) -> str:
        """Name of the queue that carries it."""
        return queue_name(self.kind, self.destination, self.spool)

    @property
    def paused_by(self) -> str:
        """Name of the queue that a person pauses: one for all spools."""
        return queue_name(self.kind, self.destination)

    @property
    def job_id(self) -> str:
        """Stable id: the same job enqueued twice is one job."""
        return f"{self.kind}:{self.subject_id}:{self.enqueues}"


@dataclass(frozen=True)
class AnalysisClaim:
    """An analysis that this process may work on.

    Attributes
    ----------
    attempt
        How often the analysis was begun since it was last queued by a person or a series; a restart on request is none.
    fence
        Grows with every claim and never falls: whoever holds an older one than the row may no longer write.
    first_claimed_at
        The date of the objects, the same at every attempt.
    copy_place
        Where the de-identified copy lies in the object store; None: in its folder.
    """

    analysis_id: str
    series_id: str
    revision: int
    input_sha256: str
    attempt: int
    fence: int
    first_claimed_at: datetime
    received_cautions: tuple[str, ...] = ()
    copy_place: str | None = None


@dataclass(frozen=True)
class DeliveryClaim:
    """A delivery that this process may work on.

    Attributes
    ----------
    attempt
        How often the destination was tried since a person or the analysis queued it.
    fence
        As of an analysis.
    delivered
        Kinds of objects that the destination holds.
    crashes
        How many senders in a row died while they sent it.
    result_place
        Where the result lies in the object store; None: in its folder.
    """

    delivery_id: str
    analysis_id: str
    series_id: str
    revision: int
    destination: str
    attempt: int
    fence: int
    first_claimed_at: datetime
    delivered: frozenset[str]
    crashes: int = 0
    result_place: str | None = None
