"""Where the chaos takes place: a node with failpoints, its database, a modality and a PACS, in one folder."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol, Self

import sqlalchemy as sa

from covnode.chaos.databases import Database, SqliteDatabase
from covnode.chaos.journal import Journal
from covnode.chaos.pacs import CountingPacs
from covnode.chaos.points import Role
from covnode.chaos.proof import SeriesFate, Standing, is_at_work, is_delivered, judge, standing
from covnode.chaos.pushes import Doors, Modality, PushedSeries
from covnode.chaos.switches import FOLDER, STANDBY, Switches
from covnode.deidentify.key_file import KeyFile
from covnode.errors import TransientError
from covnode.home import Home
from covnode.queue.engine import DbosQueue
from covnode.records.job import JobKind, queue_name
from covnode.store import queues
from covnode.store.engine import make_engine
from covnode.store.sessions import Transaction, transactions
from covnode.store.tables import QueueRow
from covnode.wiring.node import SUPERVISED

_LOOK_S = 0.1
_LOOK_AT_TABLES_S = 1.0
_LAST_SENDS_S = 1.0

# Short waits, so that a case is over soon; what is proved does not hang on them.
_SETTINGS = {
    "RECEIVE__PROCESSES": "1",
    "RECEIVE__MIN_FREE_GB": "0.01",
    "COMPLETENESS__IDLE_S": "0.5",
    "COMPLETENESS__GAP_IDLE_S": "2",
    "COMPLETENESS__OPEN_IDLE_S": "2",
    "COMPLETENESS__ABORTED_IDLE_S": "2",
    "CHOICE__ANALYSE": "all",
    "CHOICE__STUDY_IDLE_S": "0",
    "WORKER__DEVICES": "cpu",
    "WORKER__LUNGS": "density",
    "WORKER__THREADS": "1",
    "DELIVER__FIRST_RETRY_S": "0.5",
    "DELIVER__LONGEST_RETRY_S": "2",
    "DELIVER__LONGEST_PROBE_S": "1",
    "DELIVER__TIMEOUT_S": "10",
    "COMMITMENT__RETRY_S": "1",
    # On the small disk as well, work begins; what does not fit is then to be seen.
    "WORKER__MIN_FREE_GB": "0",
    "DELIVER__MIN_FREE_GB": "0",
}


class NodeProcess(Protocol):
    """A whole node as processes of its own."""

    port: int

    def init(self, *options: str) -> None:
        """Make its home."""
        ...

    def start(self) -> None:
        """Start it, and return when it listens."""
        ...

    def stop(self) -> None:
        """Stop it and all its processes."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What the chaos is given by who runs it.

    Attributes
    ----------
    folder
        Absent or empty; gets a folder for each node: its home, its log, the series and the switches.
    new_node
        (home, port, environment, module) -> a node that is neither initialised nor started, whose processes are run by
        Python from that module.
    module
        What puts the failpoints into the processes: chaos.entry, or a test's own that calls it.
    ae_title
        Of the nodes that ``new_node`` makes.
    free_port
        Returns a port that nobody listens on, another one at each call.
    patience_s
        How long a series may take to come to its end; after that it counts as lost.
    numbers
        Of the series of all nodes.
    """

    folder: Path
    new_node: Callable[[Path, int, Mapping[str, str], str], NodeProcess]
    ae_title: str
    free_port: Callable[[], int]
    module: str = "covnode.chaos.entry"
    patience_s: float = 180.0
    numbers: Iterator[int] = field(default_factory=partial(itertools.count, 1))


class Ground:
    """One node under chaos; as a context, it is started at the beginning and stopped at the end.

    Parameters
    ----------
    folder
        Gets everything.
    database
        None: SQLite in the node's home.
    stow
        Whether it listens for STOW-RS, too.
    """

    def __init__(
        self, around: Surroundings, folder: Path, database: Database | None = None, *, stow: bool = False
    ) -> None:
        home = Home(folder / "home")
        self.database = database or SqliteDatabase(home.root / "covnode.db")
        self.switches = Switches(folder / "switches")
        self.pacs = CountingPacs(around.free_port())
        self.stopping = threading.Event()
        environment = {f"COVNODE__{key}": value for key, value in _SETTINGS.items()}
        environment |= {"COVNODE__DATABASE__URL": self.database.url, FOLDER: str(self.switches.folder)}
        stow_port = around.free_port() if stow else 0
        if stow_port:
            environment |= {
                "COVNODE__STOW__ENABLED": "true",
                "COVNODE__STOW__PORT": str(stow_port),
                "COVNODE__STOW__TLS": "false",
            }
        self._home = home
        self.patience_s = around.patience_s
        self._module = around.module
        self._environment = environment
        self._node = around.new_node(home.root, around.free_port(), environment, around.module)
        self._log = folder / "standby.log"
        doors = Doors(around.ae_title, self._node.port, stow_port, commitment_ae_title=self.pacs.ae_title)
        self.modality = Modality(folder / "series", doors, around.numbers, self.stopping)

    @property
    def home(self) -> Path:
        """The folder of the node."""
        return self._home.root

    @cached_property
    def _engine(self) -> sa.Engine:
        return make_engine(self.database.url)

    @cached_property
    def _transaction(self) -> Transaction:
        return transactions(self._engine)

    @cached_property
    def _keys(self) -> KeyFile:
        return KeyFile(self._home.keys)

    def __enter__(self) -> Self:
        self.switches.folder.mkdir(parents=True)
        self._node.init("--pacs", self.pacs.address)
        self.pacs.back()
        try:
            self._node.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._node.stop()
        self.pacs.away()

    @contextmanager
    def standby(self, role: Role) -> Iterator[None]:
        """Have another host run the role too, which takes over what a frozen process holds."""
        environment = {**os.environ, **self._environment, STANDBY: "standby", SUPERVISED: "1"}
        command = [sys.executable, "-m", self._module, str(role), "--home", str(self._home.root)]
        with (
            self._log.open("ab") as log,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment) as process,  # noqa: S603 (our own)
        ):
            try:
                yield
            finally:
                process.kill()

    @property
    def stale_writes(self) -> list[str]:
        """What was written under a claim that was lost."""
        return Journal(self.switches.folder).stale_writes()

    def has_settled(self, series: PushedSeries) -> bool:
        """Whether the series came to its end: delivered, or a dead letter."""
        if len(series.answered) < len(series.files):
            return False
        if not self.pacs.has_committed(series):
            return False
        stands = self._standing(series)
        delivered = is_delivered(series, self.pacs.of_study(series.study_uid)) and not stands.is_open
        settled = delivered or stands.letter is not None
        if settled and series.settled_at_s is None:
            series.settled_at_s = time.monotonic()
        return settled

    def wait_settled(self, series: PushedSeries) -> None:
        """Return when the series came to its end, or patience did."""
        until_s = time.monotonic() + self.patience_s
        while time.monotonic() < until_s and not self.stopping.is_set() and not self.has_settled(series):
            self.pacs.wait(_LOOK_AT_TABLES_S)

    def wait_idle(self) -> None:
        """Return when nothing is on its way through the node any more, or patience came to its end."""
        until_s = time.monotonic() + self.patience_s
        while time.monotonic() < until_s and not self.stopping.is_set():
            if not self._is_at_work() and all(map(self.has_settled, self.modality.series)):
                self.stopping.wait(_LAST_SENDS_S)
                return
            self.stopping.wait(_LOOK_AT_TABLES_S)

    def _is_at_work(self) -> bool:
        try:
            with self._transaction() as session:
                return is_at_work(session)
        except TransientError:
            return True

    def wait_for(
        self, condition: Callable[[], object], timeout_s: float, unless: Callable[[], bool] = lambda: False
    ) -> None:
        """Return when what another process brings about, and cannot announce here, came true, or in time.

        Parameters
        ----------
        unless
            Looked at less often: whether it need not be waited for any more.
        """
        until_s = time.monotonic() + timeout_s
        look_at_tables_s = 0.0
        while not condition() and time.monotonic() < until_s:
            if time.monotonic() >= look_at_tables_s:
                if unless():
                    return
                look_at_tables_s = time.monotonic() + _LOOK_AT_TABLES_S
            if self.stopping.wait(_LOOK_S):
                return

    def fate_of(self, series: PushedSeries) -> SeriesFate:
        """Judge one series by what is there now."""
        stored, has_committed = self.pacs.of_study(series.study_uid), self.pacs.has_committed(series)
        return judge(series, stored, self._standing(series).letter, has_committed=has_committed)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have no analysis claimed; what was enqueued meanwhile has lost its job, and no other is enqueued for it."""
        name = queue_name(JobKind.ANALYSIS)
        with self._transaction() as session:
            queues.pause(session, name, None)
        try:
            yield
        finally:
            with self._transaction() as session:
                session.execute(sa.update(QueueRow).where(QueueRow.name == name).values(paused_at=None))

    def has_lost_job(self, series: PushedSeries) -> bool:
        """Whether there is an analysis of the series that is open and has no job."""
        job = self._standing(series).job
        if job is None:
            return False
        with self._transaction() as session:
            return not session.scalar(sa.select(DbosQueue(self._engine).holds(sa.literal(job.job_id))))

    def _standing(self, series: PushedSeries) -> Standing:
        try:
            with self._transaction() as session:
                return standing(session, self._keys.ring.digest("study", series.study_uid))
        except TransientError:
            return Standing(is_open=True)
