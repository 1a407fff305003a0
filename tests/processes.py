"""The programs of covnode as a test starts them: one command, a node, a stand-in PACS."""

import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from covnode.settings import Home
from covnode.wiring.node import open_node

ROOT = Path(__file__).parent.parent
REAL_SERIES = ROOT.parent / "shared" / "data" / "lung-pet-ct-dx"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def covnode(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run one command of covnode to its end."""
    return subprocess.run(
        [sys.executable, "-m", "covnode", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )


@dataclass
class StandInPacs:
    """The demo's PACS, in a process of its own; what arrives is a line on its stdout."""

    folder: Path
    port: int = field(default_factory=free_port)
    ae_title: str = "STANDIN_PACS"
    process: "subprocess.Popen[str] | None" = None
    _arrivals: "queue.Queue[str]" = field(default_factory=queue.Queue)

    def start(self) -> None:
        command = [sys.executable, "-m", "covnode", "stand-in-pacs", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        assert self._arrivals.get(timeout=60) == "ready"

    def _read(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout:
            self._arrivals.put(line.strip())

    def wait(self, count: int, timeout_s: float = 240) -> list[Dataset]:
        """Return the next ``count`` objects."""
        return [dcmread(self._arrivals.get(timeout=timeout_s)) for _ in range(count)]

    @property
    def waiting(self) -> int:
        """How many objects arrived that nobody has waited for."""
        return self._arrivals.qsize()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)


@dataclass
class NodeProcess:
    """``covnode serve`` in its own home."""

    root: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def home(self) -> Home:
        return Home(self.root)

    @property
    def log(self) -> Path:
        return self.root.parent / f"{self.root.name}.log"

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def init(self, *options: str) -> None:
        done = covnode("init", "--home", str(self.root), "--bind", "127.0.0.1", "--port", str(self.port), *options)
        assert done.returncode == 0, done.stderr
        for key, value in {"receive.idle_s": "1", "receive.aborted_idle_s": "2", "deliver.first_retry_s": "1"}.items():
            assert covnode("config", "set", key, value, "--home", str(self.root)).returncode == 0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "covnode", "serve", "--home", str(self.root)], stdout=log, stderr=log
            )
        self.wait_until(self._listens, 60)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def pid_of(self, role: str) -> int:
        """Return the newest process of a role."""
        return [line["pid"] for line in self.log_lines if line.get("started") == role][-1]

    def series(self) -> list[dict[str, Any]]:
        return json.loads(covnode("series", "list", "--json", "--home", str(self.root)).stdout)

    def jobs(self) -> list[dict[str, Any]]:
        return json.loads(covnode("jobs", "list", "--json", "--home", str(self.root)).stdout)

    def transaction(self):
        return open_node(self.home).transaction()

    @staticmethod
    def wait_until(condition, timeout_s: float = 120) -> None:
        """Poll a condition that another process brings about and cannot announce here."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.1)
