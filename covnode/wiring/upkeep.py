"""What a receiver does beside receiving: it compares the spool with the rows, beats, and takes over from others.

A receiver whose heartbeat has stopped leaves files without rows, requests for storage commitment, and series that
nobody sees to. One that was only frozen loses nothing: what it writes down later starts from a state that has changed.
Where hosts share no spool, all of that waits for whoever comes with the spool again.
"""

import queue
import threading
import time

from covnode.logs import get_logger
from covnode.queue.leases import BEAT_S, SILENT_S, Leases
from covnode.receive.drafts import clear_incoming
from covnode.receive.spool import Spool
from covnode.store import series
from covnode.store.executors import RECEIVER
from covnode.store.folders import remove_unpublished
from covnode.wiring.commitments import Commitments
from covnode.wiring.node import ExecutorHeartbeats, Node
from covnode.wiring.reconciliation import reconcile

_RECONCILE_S = 3600.0
# Younger files may be on their way through the recorder.
_SETTLED_S = 300.0
_LOOK_S = 0.5


class Upkeep:
    """One for each receiver: `start` it before anything is recorded, `run` it on a thread of its own."""

    def __init__(self, node: Node, spool: Spool, commitments: Commitments) -> None:
        self._node = node
        self._spool = spool
        self._commitments = commitments
        self._me = node.executor_id(RECEIVER)
        self._silent: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._heartbeats = ExecutorHeartbeats(node.transaction, self._me, RECEIVER)
        self._leases = Leases(self._heartbeats, take_over=self._silent.put, tend=self._adopt)
        self.reconciled = threading.Event()

    def start(self) -> None:
        """Beat from now on, and remove what this host was receiving when it last ended.

        Raises
        ------
        TransientError
            The database is away.
        """
        clear_incoming(self._node.home.incoming)
        clear_incoming(self._node.home.incoming.parent)  # where releases for one host kept it
        remove_unpublished(self._node.home.deidentified, self._node.home.host)
        self._leases.start()

    def run(self, stopping: threading.Event) -> None:
        """Reconcile at once and each hour, and take over from receivers that fell silent, until asked to stop."""
        reconcile(self._node, self._spool, stopping)
        self._commitments.take_over(self._node.home.commitments.parent)  # where releases for one host kept them
        self.reconciled.set()
        due_s = time.monotonic() + _RECONCILE_S
        while not stopping.is_set():
            try:
                self._take_over(self._silent.get(timeout=_LOOK_S), stopping)
            except queue.Empty:
                if time.monotonic() >= due_s:
                    reconcile(self._node, self._spool, stopping, _SETTLED_S)
                    due_s = time.monotonic() + _RECONCILE_S
            except Exception as error:  # noqa: BLE001 (the edge of the loop: it stays silent, and comes up again)
                get_logger().error("take_over_failed", error=type(error).__name__)
        self._leases.stop()

    def _take_over(self, receiver: str, stopping: threading.Event) -> None:
        """See to all that another receiver left; in vain where it was done meanwhile."""
        home, host = self._node.home, receiver.partition(":")[0]
        # Before its series: they would seem to lack what it did not come to record.
        reconcile(self._node, self._spool, stopping, BEAT_S)
        if stopping.is_set() or receiver not in self._heartbeats.silent(SILENT_S):
            return
        clear_incoming(home.incoming.with_name(host))
        remove_unpublished(home.deidentified, host)
        self._commitments.take_over(home.commitments.with_name(host))
        self._heartbeats.forget(receiver)
        self._adopt()
        while not self._silent.empty():  # it was put again at every beat; who else is silent will be
            self._silent.get()

    def _adopt(self) -> None:
        with self._node.transaction() as session:
            adopted = series.adopt(session, self._me, self._node.spool)
        if adopted:
            get_logger().warning("series_adopted", series=adopted)
