"""The programs of covnode as a test starts and watches them."""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from covnode.cli.local_node import LocalNode, StandInPacs, covnode_command
from covnode.cli.settings_file import read_document, set_value, write_document
from covnode.home import Home
from covnode.store import views
from covnode.wiring.node import Node, open_node

ROOT = Path(__file__).parent.parent
REAL_SERIES = ROOT.parent / "shared" / "data" / "lung-pet-ct-dx"


def covnode(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one command of covnode to its end."""
    return subprocess.run(covnode_command(*arguments), capture_output=True, text=True, timeout=600, check=False)


def received(pacs: StandInPacs, count: int, timeout_s: float = 200) -> list[Dataset]:
    """Return the next objects that arrive at the stand-in PACS."""
    return [dcmread(path) for path in pacs.wait(count, timeout_s)]


SHORT_WAITS = {
    "completeness.idle_s": "1",
    "completeness.gap_idle_s": "1",
    "completeness.open_idle_s": "2",
    "completeness.aborted_idle_s": "2",
    "choice.analyse": "all",
    "choice.study_idle_s": "0",
    "receive.min_free_gb": "0.05",
    "worker.min_free_gb": "0.05",
    "deliver.min_free_gb": "0.05",
    "deliver.first_retry_s": "1",
}


def configure(home: Home, settings: Mapping[str, object]) -> None:
    """Set keys of the configuration; ``receive__port`` stands for receive.port."""
    document = read_document(home)
    for key, value in settings.items():
        set_value(document, key.replace("__", "."), str(value))
    write_document(home, document)


class NodeUnderTest(LocalNode):
    """A node with short waits, and questions to ask it."""

    _node: Node | None = None

    def init(self, *options: str) -> None:
        super().init(*options)
        self.configure(**SHORT_WAITS)

    def configure(self, **settings: object) -> None:
        """Set keys; ``receive__port`` stands for receive.port."""
        configure(self.home, settings)

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def pid_of(self, role: str) -> int:
        """Return the newest process of a role."""
        return [line["pid"] for line in self.log_lines if line.get("started") == role][-1]

    def inference_children(self) -> list[int]:
        """Return the processes that the worker's pool has started."""
        tasks = Path(f"/proc/{self.pid_of('work')}/task").glob("*/children")
        pids = [int(pid) for task in tasks for pid in task.read_text().split()]
        return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def series(self) -> list[dict[str, Any]]:
        with self.transaction() as session:
            return views.list_series(session)

    def jobs(self, kind: str = "", state: str = "") -> list[dict[str, Any]]:
        with self.transaction() as session:
            jobs = views.list_jobs(session)
        return [job for job in jobs if job["kind"].startswith(kind) and state in {"", job["state"]}]

    def transaction(self):
        if self._node is None:
            self._node = open_node(self.home)
        return self._node.transaction()


def wait_until(condition, timeout_s: float = 200) -> None:
    """Poll a condition that another process brings about and cannot announce here."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.1)
