"""The queue on DBOS Transact: jobs live in our own database and are enqueued in our own transactions.

The engine decides which executor runs a job and remembers it over a crash; what the job means, how often it may crash
and what came of it stands in our tables. Arguments are ids only.
"""

import contextlib
from collections.abc import Collection, Iterator

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions
from dbos import DBOSPortableJSONSerializer as PortableJson
from sqlalchemy.orm import Session

from covnode.errors import TransientError
from covnode.queue.port import Handler
from covnode.records.job import Job, JobKind, enqueues_of

# Jobs outlive releases: one constant version lets the next release run what this one queued.
_ENGINE_VERSION = "1"
_NAME = "covnode"
# One look claims one job of a worker that runs one at a time: a queue of short jobs moves no faster than this.
_POLL_S = 0.1
# Our tables dead-letter a job after three crashes; the engine's own cap is only a backstop behind that.
_ENGINE_MAX_RECOVERIES = 1000
_OPEN = ("ENQUEUED", "DELAYED", "PENDING")


def migrate_engine(url: str) -> None:
    """Create or upgrade the engine's own tables."""
    DBOS.migrate(url)


@contextlib.contextmanager
def _unwrapped() -> Iterator[None]:
    # On psycopg2 the engine trips over an attribute that only psycopg 3 errors have; the database's own
    # error is the context of that AttributeError.
    try:
        yield
    except AttributeError as error:
        if isinstance(error.__context__, sa.exc.DBAPIError):
            raise TransientError("the job could not be written to the database") from None
        raise


class DbosQueue:
    """Enqueues from any process, inside the caller's transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._client = DBOSClient(
            system_database_engine=engine,
            serializer=PortableJson(),
            application_name=_NAME,
            lazy=True,
            retry_connection_errors=False,
        )
        # The engine's own table, where it keeps it; tests/contract holds it to these names.
        schema = None if engine.dialect.name == "sqlite" else "dbos"
        self._jobs = sa.table("workflow_status", sa.column("workflow_uuid"), sa.column("status"), schema=schema)

    def enqueue(self, session: Session, job: Job) -> None:
        """Put ``job`` in the queue when the session's transaction commits."""
        options: EnqueueOptions = {
            "workflow_name": job.kind.value,
            "queue_name": job.queue,
            "workflow_id": job.job_id,
            "app_version": _ENGINE_VERSION,
            # Always set: unset (0) would beat everything.
            "priority": int(job.priority),
        }
        if job.delay_s > 0:
            options["delay_seconds"] = job.delay_s
        with _unwrapped():
            self._client.enqueue_in_transaction(session, options, job.subject_id)

    def holds(self, job_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Return the condition that there is a job of this id that will run; none when it ended or was never there."""
        jobs = self._jobs
        # Not EXISTS: PostgreSQL would read the whole table, which holds all that ever ran, to join it.
        is_open = sa.select(jobs.c.status.in_(_OPEN)).where(jobs.c.workflow_uuid == job_id)
        return sa.func.coalesce(is_open.scalar_subquery(), sa.false())


class DbosRunner:
    """Runs the jobs of one kind in this process, as one executor of the engine.

    Parameters
    ----------
    queues
        Names of the queues to claim from.
    concurrency
        So many jobs of each queue at a time.
    """

    def __init__(self, url: str, kind: JobKind, executor_id: str, concurrency: int, queues: Collection[str]) -> None:
        self._kind = kind
        self._queues = queues
        self._concurrency = concurrency
        config: DBOSConfig = {
            "name": _NAME,
            "system_database_url": url,
            "application_version": _ENGINE_VERSION,
            "executor_id": executor_id,
            "serializer": PortableJson(),
            "run_migrations": False,
            "log_level": "CRITICAL",
        }
        self._dbos = DBOS(config=config)

    def start(self, handler: Handler) -> None:
        """Begin to claim jobs; what this executor left unfinished is run first."""

        def run(subject_id: str) -> None:
            handler(subject_id, enqueues_of(DBOS.workflow_id or ""))

        DBOS.workflow(name=self._kind.value, max_recovery_attempts=_ENGINE_MAX_RECOVERIES)(run)
        DBOS.listen_queues(list(self._queues))
        DBOS.launch()
        for queue in self._queues:
            DBOS.register_queue(
                queue,
                worker_concurrency=self._concurrency,
                polling_interval_sec=_POLL_S,
                on_conflict="always_update",
            )

    def recover(self, executor_ids: list[str]) -> None:
        """Give the unfinished jobs of dead executors back to their queues."""
        # Private, and on purpose: the public resume_workflow resets the count of attempts.
        # tests/contract holds it to what it does.
        self._dbos._recover_pending_workflows(executor_ids)  # noqa: SLF001

    def stop(self, grace_s: int) -> None:
        """Claim no more and wait that long for running jobs; what runs on is taken up again after the next start."""
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=grace_s)
