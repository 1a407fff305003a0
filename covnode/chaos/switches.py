"""The folder by which the chaos arms a failpoint and learns that it was reached; both sides, one file a fact.

NAME.armed  (the chaos: what is to happen)  ->  NAME.PID.taken  (one process, by a rename)  ->  NAME.fired
NAME.go     (the chaos: a held point goes on)       host.ROLE  (under which host's name the role runs)
"""

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from covnode.chaos.points import Role

FOLDER = "COVNODE_CHAOS"
"""Names the folder in the environment of the node's processes."""

STANDBY = "COVNODE_CHAOS_STANDBY"
"""In the environment of a role that runs beside the node's own: the name of its host."""

_HOLD_S = 60.0
_LOOK_S = 0.02
_STOPS_WITHIN_S = 1.0


class Action(StrEnum):
    """What happens to the process that reaches an armed point.

    KILL: kill -9. LOST: the same, and the role comes back under the name of another host, so that nobody but the
    reaper gives its jobs back. FREEZE: SIGSTOP, and CONT later; meanwhile another host takes its jobs over. CUT: it
    waits while the database goes away.
    """

    KILL = "kill"
    LOST = "host_lost"
    FREEZE = "freeze"
    CUT = "database_cut"


@dataclass(frozen=True)
class Firing:
    """A failpoint that was reached.

    Attributes
    ----------
    at_s
        Of the machine's monotonic clock.
    """

    pid: int
    action: Action
    at_s: float


class Switches:
    """All failpoints of one node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arm(self, point: str, action: Action) -> None:
        """Have the next process that reaches the point do this, once."""
        self.disarm(point)
        self._write(f"{point}.armed", action)

    def disarm(self, point: str) -> None:
        """Take back what was armed, and forget what came of it."""
        for what in ("armed", "fired", "go"):
            (self.folder / f"{point}.{what}").unlink(missing_ok=True)

    def firing(self, point: str) -> Firing | None:
        """Return how the point was reached; None: it was not."""
        try:
            found = json.loads((self.folder / f"{point}.fired").read_text())
        except FileNotFoundError:
            return None
        return Firing(found["pid"], Action(found["action"]), found["at_s"])

    def release(self, point: str) -> None:
        """Let a process that waits at the point go on."""
        self._write(f"{point}.go", "")

    def reached(self, point: str, role: Role) -> None:
        """Do what is armed; called by the process at the point."""
        armed, taken = self.folder / f"{point}.armed", self.folder / f"{point}.{os.getpid()}.taken"
        try:
            armed.rename(taken)
        except FileNotFoundError:
            return
        firing = Firing(os.getpid(), Action(taken.read_text()), time.monotonic())
        if firing.action is Action.LOST:
            self._write(f"host.{role}", f"host-after-{os.getpid()}")
        self._write(f"{point}.fired", json.dumps(asdict(firing)))
        _do(firing.action, self.folder / f"{point}.go")

    def host(self, role: Role) -> str:
        """Return the name of the host that the role runs on."""
        if STANDBY in os.environ:
            return os.environ[STANDBY]
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / f"host.{role}").read_text()
        return "host-0"

    def _write(self, name: str, text: str) -> None:
        draft = self.folder / f"{name}.{os.getpid()}.draft"
        draft.write_text(text)
        draft.rename(self.folder / name)


def _do(action: Action, go: Path) -> None:
    """Kill, stop or hold this process."""
    if action is Action.CUT:
        until_s = time.monotonic() + _HOLD_S
        while not go.exists() and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        return
    os.kill(os.getpid(), signal.SIGSTOP if action is Action.FREEZE else signal.SIGKILL)
    # Another thread may be the one that takes the signal, and this one would run on until all are stopped.
    time.sleep(_STOPS_WITHIN_S)
