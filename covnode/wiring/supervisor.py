"""``covnode serve``: one process a role, and a worker for each device, each started again when it ends.

A role that comes back has the same executor id, so it takes its own unfinished jobs up at once.
"""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass

from covnode.home import Home
from covnode.logs import get_logger
from covnode.wiring.devices import devices_of
from covnode.wiring.node import SUPERVISED, open_process, stop_event
from covnode.wiring.restarts import LONGEST_PAUSE_S, Restarts

_CHECK_S = 0.25
_STOP_S = 20.0


@dataclass
class _Role:
    """One role: its process, and when it may be started again."""

    name: str
    home: Home
    module: str
    restarts: Restarts
    slot: int | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def keep_running(self) -> None:
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self.process = None
            pause_s = self.restarts.ended()
            get_logger().error("role_ended", ended=self.name, **self._slot, exit_code=code, starts_again_in_s=pause_s)
        if self.restarts.is_due():
            self.restarts.started()
            command = [sys.executable, "-m", self.module, self.name, "--home", str(self.home.root)]
            command += [word for name, slot in self._slot.items() for word in (f"--{name}", str(slot))]
            environment = {**os.environ, SUPERVISED: "1"}
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603 (our own)
            get_logger().info("role_started", started=self.name, **self._slot, pid=self.process.pid)

    @property
    def _slot(self) -> dict[str, int]:
        return {} if self.slot is None else {"slot": self.slot}

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(home: Home, *, module: str = "covnode.cli.serve", longest_pause_s: float = LONGEST_PAUSE_S) -> None:
    """Run all roles until asked to stop.

    Parameters
    ----------
    module
        What Python runs as a role: ``python -m MODULE ROLE --home HOME``.
    longest_pause_s
        The longest pause before a role that ended is started again.
    """
    node = open_process(home, "supervisor")
    stopping = stop_event()

    def role(name: str, slot: int | None = None) -> _Role:
        return _Role(name, home, module, Restarts(longest_pause_s), slot)

    roles = [role("receive"), role("send")]
    try:
        for each in roles:
            each.keep_running()
        # After the others: to ask for the devices may take seconds.
        roles += [role("work", slot) for slot, _ in enumerate(devices_of(node.settings.worker))]
        while not stopping.wait(_CHECK_S):
            for each in roles:
                each.keep_running()
    finally:
        stoppers = [threading.Thread(target=each.stop) for each in roles]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
