"""What every process of the node needs: home folder, settings, database, queue."""

import contextlib
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NoReturn

import sqlalchemy as sa

from covnode.errors import ConfigurationError, RowExists, StaleClaim, TransientError
from covnode.home import Home
from covnode.logs import configure_logs, get_logger
from covnode.queue.engine import DbosQueue, DbosRunner, migrate_engine
from covnode.queue.leases import Leases
from covnode.queue.port import Handler
from covnode.records.job import JobKind, queue_name
from covnode.settings import Settings, load_settings
from covnode.store import executors, queues, requeue
from covnode.store.engine import make_engine, require_fitting, revisions
from covnode.store.objects import ObjectStore
from covnode.store.sessions import Transaction, transactions
from covnode.wiring.handover import Handover

SUPERVISED = "COVNODE_SUPERVISED"
"""Set by the supervisor: standard input is then a pipe that ends when the supervisor does."""

PROCESSES = ("supervisor", "receiver", "worker", "sender")
"""Every long-running process of a home; each holds its lock."""

_HANDLER_PAUSE_S = 10.0
_ROOM_PAUSE_S = 2.0


@dataclass(frozen=True)
class Node:
    """One node, as one of its processes sees it."""

    home: Home
    settings: Settings

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.home.database_url(self.settings.database.url)

    @cached_property
    def engine(self) -> sa.Engine:
        """The database."""
        return make_engine(self.database_url)

    @cached_property
    def transaction(self) -> Transaction:
        """Opens a transaction."""
        return transactions(self.engine)

    @cached_property
    def queue(self) -> DbosQueue:
        """Where jobs are put."""
        return DbosQueue(self.engine)

    @cached_property
    def handover(self) -> Handover:
        """How copies and results go from process to process; ConfigurationError as `ObjectStore`."""
        objects = self.settings.objects
        return Handover(ObjectStore(objects, self.home.root) if objects.url else None)

    @property
    def spool(self) -> str | None:
        """Name of the spool of this host, where hosts share none."""
        return self.home.spool_name if self.settings.objects.url else None

    def executor_id(self, role: str, slot: int = 0) -> str:
        """Return the stable name of this host's executor of ``role``: a restart takes up what it left."""
        return f"{self.home.host}:{role}-{slot}"

    def upgrade_database(self) -> None:
        """Make or migrate all tables: ours and the engine's."""
        from covnode.store.upgrades import upgrade  # noqa: PLC0415 (a role loads only what it needs)

        upgrade(self.engine)
        migrate_engine(self.database_url)

    def require_current_database(self) -> None:
        """Refuse to start on tables that this release cannot work on."""
        require_fitting(*revisions(self.engine))


def open_node(home: Home) -> Node:
    """Read the settings of ``home``."""
    settings = load_settings(home)
    return Node(home.with_files(settings.files.folder), settings)


def open_process(home: Home, role: str, settings: Settings | None = None, slot: int = 0) -> Node:
    """Open the node for a long-running process: logs set up, database checked.

    Parameters
    ----------
    settings
        None: those of the home.
    slot
        Which of several processes of the role.
    """
    os.umask(0o077)
    settings = settings or load_settings(home)
    node = Node(home.with_files(settings.files.folder), settings)
    configure_logs(node.settings.node.log_level, role)
    hold_lock(home, f"{role}-{slot}", f"a {role} runs on {home.root} already: stop it first.")
    _ = node.home.host, node.handover  # read now: the worker is about to give up to read the home
    _require_files(node.home)
    node.require_current_database()
    return node


def hold_lock(home: Home, name: str, otherwise: str) -> None:
    """Hold a lock of this home as long as the process lives.

    Raises
    ------
    ConfigurationError
        Another process holds it; ``otherwise`` says so.
    """
    home.locks.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(home.locks / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigurationError(otherwise) from None


def _require_files(home: Home) -> None:
    """Refuse to work on a folder of files that is not there: what is not mounted is an empty folder, and seems to work.

    Raises
    ------
    ConfigurationError
        It is not there.
    """
    if home.files != home.root and not home.deidentified.is_dir():
        raise ConfigurationError(
            f"{home.files} (files.folder) holds no files of a node: is it mounted? "
            "The first host that uses it makes it by 'covnode init --files'."
        )


@dataclass(frozen=True)
class ExecutorHeartbeats:
    """Heartbeats of one executor in our tables."""

    transaction: Transaction
    executor_id: str
    role: str

    def beat(self) -> None:
        """Say that this executor lives."""
        with self.transaction() as session:
            executors.beat(session, self.executor_id, self.role)

    def silent(self, longer_than_s: float) -> list[str]:
        """Return the executors that this one can stand in for and that had no heartbeat for that long."""
        with self.transaction() as session:
            return executors.silent(session, longer_than_s, self.role)

    def forget(self, executor_id: str) -> None:
        """Drop an executor whose jobs were given back."""
        with self.transaction() as session:
            executors.forget(session, executor_id)


@dataclass(frozen=True)
class RoleOfJobs:
    """How one role runs its jobs.

    Attributes
    ----------
    concurrency
        So many jobs of each queue at a time.
    grace_s
        How long a running job may go on when the process is asked to stop.
    slot
        Which of several processes of the role on this host.
    has_room
        Whether what a job writes has a place; a job waits, queued, until it has.
    of_spool
        Queues beside those of jobs that only the host with a certain spool can run.
    """

    name: str
    kind: JobKind
    queues: list[str]
    concurrency: int
    grace_s: int
    has_room: Callable[[], bool]
    slot: int = 0
    of_spool: tuple[str, ...] = ()


def run_jobs(node: Node, role: RoleOfJobs, handler: Handler, on_stop: Callable[[], None]) -> NoReturn:
    """Run the jobs of the role until the process is asked to stop; what runs then is taken up at the next start."""
    me = node.executor_id(role.name, role.slot)
    # Deliveries are paused by destination, whichever queue their jobs came by.
    for name in set(role.queues) - {queue_name(JobKind.DELIVERY)}:
        with contextlib.suppress(RowExists), node.transaction() as session:
            queues.register(session, [name])
    runner = DbosRunner(node.database_url, role.kind, me, role.concurrency, [*role.queues, *role.of_spool])
    heartbeats = ExecutorHeartbeats(node.transaction, me, role.name)

    def take_over(executor_id: str) -> None:
        runner.recover([executor_id])
        heartbeats.forget(executor_id)

    leases = Leases(heartbeats, take_over, partial(requeue_lost, node))
    stopping = stop_event()

    def persistent(subject_id: str, enqueues: int) -> None:
        # To return tells the engine that the job is done, and to raise has the engine keep the error: so what could not
        # be written down in our tables is tried until it is, and a process that stops leaves the job open.
        while not stopping.is_set():
            try:
                if role.has_room():
                    return handler(subject_id, enqueues)
                stopping.wait(_ROOM_PAUSE_S)
            except Exception as error:  # noqa: BLE001 (the edge of the loop)
                get_logger().error("job_interrupted", subject_id=subject_id, error=type(error).__name__)
                stopping.wait(_HANDLER_PAUSE_S)
        threading.Event().wait()
        return None

    leases.start()
    runner.start(persistent)
    stopping.wait()
    # Nothing new begins any more; a role that gives its jobs no time has nothing to wait for.
    if role.grace_s:
        runner.stop(role.grace_s)
        leases.stop()
    try:
        on_stop()
    except TransientError as error:  # the database may be away
        get_logger().warning("stop_not_noted", error=str(error))
    # Not an orderly exit, which would wait for threads that hold a job: the job stays with this executor.
    os._exit(0)


def requeue_lost(node: Node) -> None:
    """Enqueue again what has not ended in our tables but whose job the engine no longer holds.

    Our tables are the truth: whatever happened to the engine's rows, an open analysis or delivery gets a job.
    """
    with node.transaction() as session:
        found = requeue.lost_jobs(session, node.queue.holds)
    for lost in found:
        try:
            with node.transaction() as session:
                node.queue.enqueue(session, requeue.enqueue_again(session, lost))
        except StaleClaim:
            continue  # it ended, or another process was first
        get_logger().warning("job_requeued", kind=lost.kind, subject_id=lost.subject_id)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM, SIGINT and, in a role of ``covnode serve``, the supervisor's end set."""
    stopping = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        # A handler interrupts the main thread wherever it is, also where it holds the event's own lock.
        threading.Thread(target=stopping.set, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    if SUPERVISED in os.environ:

        def outlive_nobody() -> None:
            sys.stdin.read()
            stopping.set()

        threading.Thread(target=outlive_nobody, name="supervisor", daemon=True).start()
    return stopping
