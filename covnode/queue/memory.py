"""The queue in memory, for tests: the same promises as the adapter on DBOS, in one process."""

import threading

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.queue.port import Handler
from covnode.records.job import Job, JobKind


class MemoryQueue:
    """Jobs by id; a job that was enqueued before is not run again."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self._arrived = threading.Condition()

    def enqueue(self, session: Session, job: Job) -> None:
        """Keep the job once the session commits."""

        def keep(_session: Session) -> None:
            with self._arrived:
                self.jobs.setdefault(job.job_id, job)
                self._arrived.notify_all()

        sa.event.listen(session, "after_commit", keep, once=True)

    def holds(self, job_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Return the condition that such a job was enqueued: then it runs sooner or later."""
        return job_id.in_(self.jobs)

    def wait(self, seen: set[str], kind: JobKind, timeout_s: float) -> Job | None:
        """Return a job of ``kind`` whose id is not in ``seen``, or None after the timeout."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._next(seen, kind) is not None, timeout_s)
            return self._next(seen, kind)

    def _next(self, seen: set[str], kind: JobKind) -> Job | None:
        return next((job for job in self.jobs.values() if job.kind == kind and job.job_id not in seen), None)


class MemoryRunner:
    """Runs the jobs of a MemoryQueue in one thread."""

    def __init__(self, queue: MemoryQueue, kind: JobKind) -> None:
        self._queue = queue
        self._kind = kind
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, handler: Handler) -> None:
        """Begin to run jobs."""

        def loop() -> None:
            seen: set[str] = set()
            while not self._stopping.is_set():
                job = self._queue.wait(seen, self._kind, timeout_s=0.05)
                if job is not None:
                    seen.add(job.job_id)
                    self._stopping.wait(job.delay_s)
                    handler(job.subject_id, job.enqueues)

        self._thread = threading.Thread(target=loop, daemon=True)
        self._thread.start()

    def recover(self, executor_ids: list[str]) -> None:
        """Nothing to give back: the jobs live and die with this process."""

    def stop(self, grace_s: int) -> None:  # noqa: ARG002 (the thread is always waited for)
        """Run no more."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
