"""The receiver process: doors, recorder, assembly of series, intake, storage commitment. Holds the keys; has no torch.

door (processes) --line--> recorder --rows--> assembling --> choosing --> taking in --job--> worker

Of several receivers on one database each sees to the series whose instances it recorded last, and a living one to those
of one whose heartbeat has stopped.
"""

import threading
from dataclasses import dataclass

from covnode.deidentify.key_file import KeyFile
from covnode.errors import TransientError
from covnode.home import Home
from covnode.logs import get_logger
from covnode.receive.assembly import AssociationLedger
from covnode.receive.spool import Spool
from covnode.records.arrival import DoorMessage
from covnode.store.executors import RECEIVER
from covnode.wiring.assembling import Assembling
from covnode.wiring.choosing import Choosing
from covnode.wiring.commitments import Commitments
from covnode.wiring.doors import Doors
from covnode.wiring.intake import TakingIn, build_intake
from covnode.wiring.node import Node, open_process, stop_event
from covnode.wiring.recorder import Recorder
from covnode.wiring.room import DiskWarnings
from covnode.wiring.upkeep import Upkeep

_TICK_S = 0.5
_SUPERVISION_S = 0.25


@dataclass(frozen=True)
class Assembly:
    """What happens to series after their instances are recorded: complete -> chosen -> taken in."""

    assembling: Assembling
    choosing: Choosing
    taking_in: TakingIn

    def run(self, stopping: threading.Event) -> None:
        """Look twice a second until asked to stop."""
        while not stopping.wait(_TICK_S):
            for step in (self.assembling.run_once, self.choosing.run_once, self.taking_in.run_once):
                try:
                    step()
                except TransientError as error:
                    get_logger().warning("assembly_postponed", reason=str(error))
                except Exception as error:  # noqa: BLE001 (the edge of the loop: tried again at the next look)
                    get_logger().error("assembly_failed", error=type(error).__name__)


class Receiver:
    """All that the receiver does, in threads of their own beside the doors' processes."""

    def __init__(self, node: Node, keys: KeyFile) -> None:
        digest = keys.ring.digest
        self._node = node
        self._ledger = AssociationLedger()
        self._doors = Doors(node.home, node.settings, self._hear)
        self._commitments = Commitments(node, digest, self._doors.report_on_same)
        self._recorder = Recorder(node, self._ledger, self._doors.close, self._commitments.put)
        spool = Spool(node.home.spool, node.home.incoming, digest)
        self._upkeep = Upkeep(node, spool, self._commitments)
        self._assembly = Assembly(
            Assembling(node, self._ledger),
            Choosing(node),
            TakingIn(node, build_intake(node, keys)),
        )

    def _hear(self, door: str, message: DoorMessage | None) -> None:
        self._recorder.hear(door, message)

    def run(self, stopping: threading.Event) -> None:
        """Run until asked to stop."""
        self._upkeep.start()
        threads = [
            threading.Thread(target=work, args=(stopping,), name=name)
            for name, work in {
                "recorder": self._recorder.run,
                "assembly": self._assembly.run,
                "commitments": self._commit,
                "upkeep": self._upkeep.run,
            }.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._supervise(stopping)
        finally:
            stopping.set()
            self._doors.stop()
            for thread in threads:
                thread.join()
            self._recorder.drain()

    def _supervise(self, stopping: threading.Event) -> None:
        self._doors.keep_running()
        disks = DiskWarnings(self._node)
        get_logger().info("listening", ae_title=self._node.settings.node.ae_title, **self._doors.ports)
        while not stopping.wait(_SUPERVISION_S):
            try:
                self._doors.keep_running()
                self._recorder.watch()
                disks.look()
            except Exception as error:  # noqa: BLE001 (the edge of the loop: no process can be started now)
                get_logger().error("doors_not_supervised", error=type(error).__name__)

    def _commit(self, stopping: threading.Event) -> None:
        # A commitment asked for before the restart is answered when every file of the spool has its row.
        self._upkeep.reconciled.wait()
        self._commitments.run(stopping)


def run_receiver(home: Home) -> None:
    """Run until asked to stop."""
    node = open_process(home, RECEIVER)
    for folder in node.home.folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Receiver(node, KeyFile(home.keys)).run(stop_event())
