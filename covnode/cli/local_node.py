"""A node and a stand-in PACS on the loopback address, as processes of their own: for the demo, benchmarks and tests."""

import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covnode.errors import CovnodeError
from covnode.home import Home

LOOPBACK = "127.0.0.1"
NODE_AE = "COVNODE"
PACS_AE = "STANDIN_PACS"
_STDERR = 2
_START_S = 180.0
_STOP_S = 60.0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def covnode_command(*arguments: str) -> list[str]:
    """Return the command line of one of covnode's commands, run by this interpreter."""
    return [sys.executable, "-m", "covnode", *arguments]


def run_covnode(*arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command to its end; its output is shown on stderr: stdout belongs to the caller.

    Parameters
    ----------
    environment
        What it finds in its environment beside this process's own.

    Raises
    ------
    CovnodeError
        It failed.
    """
    everything = {**os.environ, **(environment or {})}
    done = subprocess.run(covnode_command(*arguments), check=False, env=everything, stdout=_STDERR)  # noqa: S603 (our own interpreter and module)
    if done.returncode != 0:
        raise CovnodeError(f"covnode {arguments[0]} ended with exit code {done.returncode}")


@dataclass
class StandInPacs:
    """A PACS that keeps what it is sent, and says so."""

    folder: Path
    port: int = field(default_factory=free_port)
    host: str = LOOPBACK
    _process: "subprocess.Popen[str] | None" = None
    _arrivals: "queue.Queue[str]" = field(default_factory=queue.Queue)

    @property
    def address(self) -> str:
        """AE@HOST:PORT."""
        return f"{PACS_AE}@{self.host}:{self.port}"

    @property
    def waiting(self) -> int:
        """How many objects arrived that nobody has waited for."""
        return self._arrivals.qsize()

    def start(self) -> None:
        """Start, and return when it listens."""
        command = covnode_command("stand-in-pacs", str(self.folder), "--port", str(self.port), "--bind", self.host)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (as above)
        self._process = process
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        self._next(_START_S)

    def wait(self, count: int, timeout_s: float) -> list[Path]:
        """Return the files of the next ``count`` objects.

        Raises
        ------
        CovnodeError
            They did not come in time.
        """
        return [Path(self._next(timeout_s)) for _ in range(count)]

    def stop(self) -> None:
        """Stop."""
        _stop(self._process)
        self._process = None

    def _read(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            self._arrivals.put(line.strip())

    def _next(self, timeout_s: float) -> str:
        try:
            return self._arrivals.get(timeout=timeout_s)
        except queue.Empty:
            raise CovnodeError(f"nothing arrived at the stand-in PACS within {timeout_s:g} s") from None


@dataclass
class LocalNode:
    """``covnode serve`` in a home of its own; its log lies beside the home.

    Attributes
    ----------
    environment
        What its processes find in their environment beside this process's own.
    module
        What Python runs as its processes.
    host
        The address that it listens on.
    within
        A command that runs its processes, such as one that gives them a network of their own.
    """

    root: Path
    port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    module: str = "covnode"
    host: str = LOOPBACK
    within: Sequence[str] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def home(self) -> Home:
        """What lies where."""
        return Home(self.root)

    @property
    def log(self) -> Path:
        """The log of all its processes."""
        return self.root.parent / f"{self.root.name}.log"

    def init(self, *options: str) -> None:
        """Make its home."""
        where = ("--home", str(self.root), "--bind", self.host, "--port", str(self.port), "--ae-title", NODE_AE)
        run_covnode("init", *where, *options, environment=self.environment)

    def start(self, command_name: str = "serve") -> None:
        """Start the whole node, or one role by its command; return when it listens."""
        command = [*self.within, sys.executable, "-m", self.module, command_name, "--home", str(self.root)]
        everything = {**os.environ, **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=everything)  # noqa: S603 (as above)
        deadline_s = time.monotonic() + _START_S
        while not self.listens():
            if time.monotonic() > deadline_s or self.process.poll() is not None:
                raise CovnodeError(f"the node does not listen: see {self.log}")
            time.sleep(0.2)

    def push(self, folder: Path) -> None:
        """Send a folder to it by C-STORE."""
        run_covnode("push", str(folder), "--to", f"{NODE_AE}@{self.host}:{self.port}")

    def stop(self) -> None:
        """Stop it and all its processes."""
        _stop(self.process)
        self.process = None

    def listens(self) -> bool:
        """Whether its port accepts connections."""
        try:
            socket.create_connection((self.host, self.port), timeout=1.0).close()
        except OSError:
            return False
        return True


def _stop(process: "subprocess.Popen[str] | subprocess.Popen[bytes] | None") -> None:
    if process is not None:
        process.terminate()
        process.wait(_STOP_S)
