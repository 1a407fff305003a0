"""Records in our tables what the doors made durable, in batches; closes the gate while it cannot.

Comes from the doors, whose Success does not wait for it: what is durable in the spool and not recorded yet is recorded
when the database is back, or found by wiring.reconciliation at the next start.
"""

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.errors import RowExists, TransientError
from covnode.logs import get_logger
from covnode.receive.assembly import AssociationLedger
from covnode.receive.evidence import ABORTED, RELEASED
from covnode.records.arrival import ArrivedInstance, CommitmentAsked, DoorMessage, Ended, Stored
from covnode.store import arrivals, control
from covnode.store.executors import RECEIVER
from covnode.store.tables import StudyRow
from covnode.wiring.node import Node

_BATCH = 1000
_GATHER_S = 0.4
_PROBE_S = 1.0
_AGAIN_S = 0.5
_COLLISIONS = 5
# A database that hangs instead of refusing: nothing more is taken once it holds a batch up for this long.
_SLOW_S = 5.0
_AWAY = "the database does not answer"

_Heard = tuple[str, DoorMessage | None]


def record(node: Node, session: Session, instances: list[ArrivedInstance]) -> list[str]:
    """Record instances and return the series of each; one that is urgent hurries what is open of its study.

    Raises
    ------
    RowExists
        As `arrivals.record`.
    """
    late = node.settings.receive.late_slices
    series_ids = arrivals.record(session, instances, late, node.executor_id(RECEIVER), node.spool)
    urgent = {instance.study_digest for instance in instances if instance.facts.stat}
    if urgent:
        for job in control.hurry(session, StudyRow.study_digest.in_(urgent)):
            node.queue.enqueue(session, job)
    return series_ids


class Recorder:
    """Hears all doors and writes down what they say, in the order in which each said it.

    Parameters
    ----------
    close
        Closes the gate with a reason, or opens it.
    on_commitment
        Takes a storage commitment request, once the instances that came before it are recorded.
    """

    def __init__(
        self,
        node: Node,
        ledger: AssociationLedger,
        close: Callable[[str | None], None],
        on_commitment: Callable[[CommitmentAsked], None],
    ) -> None:
        self._node = node
        self._ledger = ledger
        self._close = close
        self._on_commitment = on_commitment
        self._heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
        self._open: defaultdict[str, set[str]] = defaultdict(set)
        self._busy_since_s: float | None = None

    def hear(self, door: str, message: DoorMessage | None) -> None:
        """Take a message of a door; None: the door has ended."""
        self._heard.put((door, message))

    def run(self, stopping: threading.Event) -> None:
        """Record until asked to stop."""
        while not stopping.is_set():
            batch = self._gather()
            self._busy_since_s = time.monotonic()
            try:
                if self._persist(batch, stopping):
                    self._close(None)
            except Exception as error:  # noqa: BLE001 (the edge of the thread: what is durable is found again, see reconciliation)
                get_logger().error("recorder_failed", messages=len(batch), error=type(error).__name__)
            self._busy_since_s = None

    def watch(self) -> None:
        """Close the gate when the database hangs; called now and then by another thread."""
        since_s = self._busy_since_s
        if since_s is not None and time.monotonic() - since_s > _SLOW_S:
            self._close(_AWAY)

    def drain(self) -> None:
        """Record what was heard and not yet recorded, at the end; what fails is found at the next start."""
        stopped = threading.Event()
        stopped.set()
        while not self._heard.empty():
            self._persist(self._gather(), stopped)

    def _gather(self) -> list[_Heard]:
        """Return what was heard: a batch, or nothing for so long that it is time to look at the database."""
        batch: list[_Heard] = []
        try:
            batch.append(self._heard.get(timeout=_PROBE_S))
            until_s = time.monotonic() + _GATHER_S
            while len(batch) < _BATCH:
                batch.append(self._heard.get(timeout=max(0.0, until_s - time.monotonic())))
        except queue.Empty:
            pass
        return batch

    def _persist(self, batch: list[_Heard], stopping: threading.Event) -> bool:
        """Record a batch, however long the database is away; return whether it is recorded."""
        stored = [message.instance for _, message in batch if isinstance(message, Stored)]
        collisions, alone = 0, False
        while True:
            try:
                series_ids = [self._write_alone(one) for one in stored] if alone else self._write(stored)
            except RowExists:  # another process was first: its rows are there now
                collisions += 1
                alone = collisions > _COLLISIONS
            except TransientError:
                self._close(_AWAY)
                if stopping.wait(_AGAIN_S):
                    return False
            except Exception as error:  # noqa: BLE001 (one instance that cannot be written must not hold up the others)
                get_logger().error("batch_not_recorded", instances=len(stored), error=type(error).__name__)
                alone = True
            else:
                break
        recorded = iter(series_ids)
        for door, message in batch:
            self._note(door, message, recorded)
        return True

    def _write(self, instances: list[ArrivedInstance]) -> list[str | None]:
        with self._node.transaction() as session:
            if instances:
                return [*record(self._node, session, instances)]
            session.execute(sa.select(1))
            return []

    def _write_alone(self, instance: ArrivedInstance) -> str | None:
        """Record one instance; None: it cannot be written, stays in the spool and is tried at each reconciliation."""
        try:
            return self._write([instance])[0]
        except Exception as error:
            if isinstance(error, TransientError) and not isinstance(error, RowExists):
                raise
            get_logger().error("instance_not_recorded", error=type(error).__name__)
            return None

    def _note(self, door: str, message: DoorMessage | None, recorded: Iterator[str | None]) -> None:
        match message:
            case Stored():
                self._open[door].add(message.association_id)
                series_id = next(recorded)
                if series_id is not None:
                    self._ledger.feeds(message.association_id, series_id)
            case Ended():
                self._open[door].discard(message.association_id)
                self._ledger.ended(message.association_id, RELEASED if message.released else ABORTED)
            case CommitmentAsked():
                self._on_commitment(message)
            case None:
                for association_id in self._open.pop(door, set()):
                    self._ledger.ended(association_id, ABORTED)
