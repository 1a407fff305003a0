"""``covnode serve``: one process a role, each started again when it ends.

A role that comes back has the same executor id, so it takes its own unfinished jobs up at once.
"""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from covnode.home import Home
from covnode.logs import get_logger
from covnode.wiring.node import SUPERVISED, open_process, stop_event
from covnode.wiring.restarts import Restarts

ROLES = ("receive", "work", "send")
_CHECK_S = 0.25
_STOP_S = 20.0


@dataclass
class _Role:
    """One role: its process, and when it may be started again."""

    name: str
    home: Home
    process: "subprocess.Popen[bytes] | None" = None
    restarts: Restarts = field(default_factory=Restarts)

    def keep_running(self) -> None:
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self.process = None
            pause_s = self.restarts.ended()
            get_logger().error("role_ended", ended=self.name, exit_code=code, starts_again_in_s=pause_s)
        if self.restarts.is_due():
            self.restarts.started()
            command = [sys.executable, "-m", "covnode.cli.serve", self.name, "--home", str(self.home.root)]
            environment = {**os.environ, SUPERVISED: "1"}
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603 (our own)
            get_logger().info("role_started", started=self.name, pid=self.process.pid)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(home: Home) -> None:
    """Run all roles until asked to stop."""
    open_process(home, "supervisor")
    stopping = stop_event()
    roles = [_Role(name, home) for name in ROLES]
    try:
        while not stopping.wait(_CHECK_S):
            for role in roles:
                role.keep_running()
    finally:
        stoppers = [threading.Thread(target=role.stop) for role in roles]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
