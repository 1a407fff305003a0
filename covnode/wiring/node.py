"""What every process of the node needs: home folder, settings, database, queue."""

import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa

from covnode.errors import ConfigurationError
from covnode.logs import configure_logs, get_logger
from covnode.queue.engine import DbosQueue, DbosRunner, migrate_engine
from covnode.queue.leases import Leases
from covnode.queue.port import Handler
from covnode.records.job import JobKind
from covnode.settings import Home, Settings, load_settings
from covnode.store import executors
from covnode.store.engine import make_engine, revisions, upgrade
from covnode.store.sessions import Transaction, transactions

SUPERVISED = "COVNODE_SUPERVISED"
"""Set by the supervisor: standard input is then a pipe that ends when the supervisor does."""

_HANDLER_TRIES = 30
_HANDLER_PAUSE_S = 10.0


@dataclass(frozen=True)
class Node:
    """One node, as one of its processes sees it."""

    home: Home
    settings: Settings

    @cached_property
    def engine(self) -> sa.Engine:
        """The database."""
        return make_engine(self.home.database_url(self.settings))

    @cached_property
    def transaction(self) -> Transaction:
        """Opens a transaction."""
        return transactions(self.engine)

    @cached_property
    def queue(self) -> DbosQueue:
        """Where jobs are put."""
        return DbosQueue(self.engine)

    def upgrade_database(self) -> None:
        """Make or migrate all tables: ours and the engine's."""
        upgrade(self.engine)
        migrate_engine(self.home.database_url(self.settings))

    def require_current_database(self) -> None:
        """Refuse to start on tables of another release."""
        current, newest = revisions(self.engine)
        if current != newest:
            raise ConfigurationError(
                f"the database is at revision {current or 'none'}, this release needs {newest}: "
                "run 'covnode db upgrade'."
            )


def open_node(home: Home) -> Node:
    """Read the settings of ``home``."""
    return Node(home, load_settings(home))


def open_process(home: Home, role: str) -> Node:
    """Open the node for a long-running process: logs set up, database checked."""
    os.umask(0o077)
    node = open_node(home)
    configure_logs(node.settings.node.log_level, role)
    node.require_current_database()
    return node


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
        """Return the executors without a heartbeat for that long."""
        with self.transaction() as session:
            return executors.silent(session, longer_than_s)

    def forget(self, executor_id: str) -> None:
        """Drop an executor whose jobs were given back."""
        with self.transaction() as session:
            executors.forget(session, executor_id)


def executor_id(role: str) -> str:
    """Return the stable name of this host's executor of ``role``: a restart takes its own jobs up again."""
    return f"{socket.gethostname()}:{role}-0"


def run_jobs(node: Node, kind: JobKind, role: str, handler: Handler, concurrency: int) -> None:
    """Run the jobs of ``kind`` until the process is asked to stop; what runs then is taken up at the next start."""
    me = executor_id(role)
    runner = DbosRunner(node.home.database_url(node.settings), kind, me, concurrency)
    leases = Leases(ExecutorHeartbeats(node.transaction, me, role), runner)
    stopping = stop_event()

    def persistent(subject_id: str) -> None:
        # The engine keeps what a job raises, so nothing may leave here; what could not be written down is tried again.
        for _ in range(_HANDLER_TRIES):
            try:
                return handler(subject_id)
            except Exception as error:  # noqa: BLE001 (the edge of the loop)
                get_logger().error("job_interrupted", subject_id=subject_id, error=type(error).__name__)
                stopping.wait(_HANDLER_PAUSE_S)
        return None

    leases.start()
    runner.start(persistent)
    stopping.wait()
    runner.stop()
    leases.stop()


def stop_event() -> threading.Event:
    """Return an event that SIGTERM, SIGINT and, in a role of ``covnode serve``, the supervisor's end set."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if SUPERVISED in os.environ:

        def outlive_nobody() -> None:
            sys.stdin.read()
            stopping.set()

        threading.Thread(target=outlive_nobody, name="supervisor", daemon=True).start()
    return stopping
