"""Storage SCPs side by side: DCMTK's storescp, Orthanc, and covnode's receiver with and without sync.

Each is a process of its own with a store of its own on the same disk. None runs under anything that it would not run
under in a hospital, but for the receiver without sync: Debian's eatmydata takes its fsync away from outside.
"""

import itertools
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import sqlalchemy as sa
from dicom_instances import kept_digests
from dicom_sender import Association, Peer

from covnode.cli.local_node import LOOPBACK, NODE_AE, LocalNode, covnode_command, free_port
from covnode.cli.settings_file import read_document, set_value, write_document
from covnode.receive.spool import series_folders
from covnode.store.tables import InstanceRow
from covnode.wiring.node import open_node

_START_S = 60.0
_QUIET_S = 86400
_SETTINGS = {
    "receive.max_associations": "64",
    "receive.max_associations_per_peer": "64",
    "receive.min_free_gb": "0.05",
    "completeness.idle_s": str(_QUIET_S),
    "completeness.gap_idle_s": str(_QUIET_S),
    "completeness.open_idle_s": str(_QUIET_S),
    "completeness.aborted_idle_s": str(_QUIET_S),
    "completeness.watchdog_s": str(_QUIET_S),
}


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = _START_S) -> None:
    """Poll what another process brings about; TimeoutError when it does not."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(what)
        time.sleep(0.05)


def set_aside(entries: Iterable[Path], folder: Path) -> None:
    """Move away what a store kept; it is deleted with everything else, at the end.

    ext4 without a journal does not give out an inode again for minutes, and looks at each that was deleted lately
    whenever it makes a file: a benchmark that deletes between its runs measures that.
    """
    folder.mkdir(parents=True)
    for entry in entries:
        entry.rename(folder / entry.name)


class Server:
    """A storage SCP as the benchmark sees it."""

    ae_title = "STORAGE"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._cleared = itertools.count()
        self._environment: dict[str, str] = {}

    @property
    def _aside(self) -> Path:
        """A new folder for what is cleared away."""
        return self.folder.with_name(f"{self.folder.name}-aside") / str(next(self._cleared))

    def start(self) -> None:
        """Start, and return when it answers C-ECHO."""
        self.folder.mkdir(parents=True)
        self._spawn(self._command())

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _spawn(self, command: list[str]) -> None:
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            environment = {**os.environ, "TCP_NODELAY": "1", **self._environment}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)  # noqa: S603 (named here)
        wait_for(lambda: self.pid > 0 and self.answers(), f"{self.folder.name} does not answer")

    @property
    def pid(self) -> int:
        """Its process.

        Raises
        ------
        RuntimeError
            It does not run.
        """
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"{self.folder.name} does not run")
        return self.process.pid

    def answers(self) -> bool:
        """Whether a C-ECHO succeeds."""
        try:
            association = Association(Peer(self.port, self.ae_title), timeout_s=10)
        except OSError:
            return False
        status = association.echo()
        association.release()
        return status == 0

    def stop(self) -> None:
        """Stop."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(_START_S)

    def kept(self) -> int:
        """Return how many instances it keeps."""
        raise NotImplementedError

    def missing(self, digests: list[str]) -> int:
        """Return how many of these data sets it does not keep; counts alone for those that may rewrite them."""
        return abs(len(digests) - self.kept())

    def clear(self) -> None:
        """Forget all that it keeps."""
        raise NotImplementedError


class Storescp(Server):
    """DCMTK's storescp: never syncs. With several senders it forks for each association."""

    ae_title = "STORESCP"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options

    def _command(self) -> list[str]:
        options = ["-aet", self.ae_title, "-od", str(self.folder), *self._options]
        return ["storescp", *options, str(self.port)]

    def kept(self) -> int:
        """Return how many files there are."""
        return sum(1 for _ in self.folder.iterdir())

    def clear(self) -> None:
        """Set the files aside."""
        set_aside(list(self.folder.iterdir()), self._aside)


class Orthanc(Server):
    """Debian's Orthanc with its default storage, which syncs each file."""

    ae_title = "ORTHANC"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._http_port = free_port()
        self._before = 0

    def _command(self) -> list[str]:
        settings = {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": self._http_port,
            "DicomAlwaysAllowStore": True,
            "Plugins": [],
        }
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(settings))
        return ["Orthanc", str(config)]

    def _ask(self, path: str) -> bytes:
        address = f"http://{LOOPBACK}:{self._http_port}/{path}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return bytes(answer.read())

    def kept(self) -> int:
        """Ask its index how many came since it was cleared."""
        return self._count() - self._before

    def _count(self) -> int:
        return int(json.loads(self._ask("statistics"))["CountInstances"])

    def clear(self) -> None:
        """Count from here; its index and its folders go on."""
        self._before = self._count()


class Receiver(Server):
    """``covnode receive`` on a home of its own; series never count as complete, so that it does nothing else."""

    ae_title = NODE_AE

    def __init__(self, folder: Path, *, syncs: bool = True) -> None:
        super().__init__(folder)
        self.node = LocalNode(folder, port=self.port)
        self._wrapper = [] if syncs else ["eatmydata"]
        if not syncs:
            paths = [str(Path(__file__).with_name("without_sync")), os.environ.get("PYTHONPATH")]
            self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self._seen = 0

    @property
    def spool(self) -> Path:
        """Where it keeps instances."""
        return self.node.home.spool

    def start(self) -> None:
        """Make its home, then start."""
        self.node.init()
        self.configure(_SETTINGS)
        self.start_again()

    def configure(self, settings: dict[str, str]) -> None:
        """Change settings; they count at the next start."""
        document = read_document(self.node.home)
        for key, value in settings.items():
            set_value(document, key, value)
        write_document(self.node.home, document)

    def start_again(self) -> None:
        """Start on the home as it is."""
        self._spawn([*self._wrapper, *covnode_command("receive", "--home", str(self.folder))])

    def recorded(self) -> int:
        """Return how many instances its database holds."""
        node = open_node(self.node.home)
        with node.transaction() as session:
            count = session.scalar(sa.select(sa.func.count()).select_from(InstanceRow)) or 0
        node.engine.dispose()
        return count

    def kept(self) -> int:
        """Return how many files there are."""
        return sum(kept_digests(self.spool).values())

    def missing(self, digests: list[str]) -> int:
        """Count the data sets that the spool does not keep byte by byte, or the database does not hold."""
        unlike = kept_digests(self.spool)
        unlike.subtract(digests)
        self._seen += len(digests)
        wait_for(lambda: self.recorded() >= self._seen, "the database does not hold what was answered")
        return sum(abs(count) for count in unlike.values()) + self.recorded() - self._seen

    def clear(self) -> None:
        """Set the series folders aside: the receiver looks at none of them before it is started again."""
        set_aside([self.spool / name for name in series_folders(self.spool)], self._aside)
