"""The JobQueue port: what the rest of covnode knows of the queue.

An enqueue takes part in the caller's transaction: job and state change are committed together or not at all.
"""

from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.records.job import Job

Handler = Callable[[str, int], None]
"""(subject id, the job's count of enqueues)"""


class JobQueue(Protocol):
    """Where jobs are put."""

    def enqueue(self, session: Session, job: Job) -> None:
        """Put ``job`` in the queue when the session's transaction commits."""
        ...

    def holds(self, job_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Return the condition that there is a job of this id that will run; none when it ended or was never there.

        For a statement on our tables, which then sees both as they are at one moment.
        """
        ...


class JobRunner(Protocol):
    """Who runs the jobs of one kind: ``handler(subject_id, enqueues)``, again and again until it returns once."""

    def start(self, handler: Handler) -> None:
        """Begin to claim jobs; what this executor left unfinished is run first."""
        ...

    def recover(self, executor_ids: list[str]) -> None:
        """Give the unfinished jobs of dead executors back to their queues."""
        ...

    def stop(self, grace_s: int) -> None:
        """Claim no more and wait that long for running jobs; what runs on is taken up again after the next start."""
        ...
