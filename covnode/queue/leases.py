"""Heartbeats, and the reaper: the open engine does not take over the jobs of a dead executor by itself.

Every process that runs jobs beats every 2 s on the database's clock; any living one gives the jobs of an executor that
was silent for 8 s back to their queues.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from covnode.logs import get_logger
from covnode.queue.port import JobRunner

BEAT_S = 2.0
SILENT_S = 8.0
_TEND_EVERY = 5


class Heartbeats(Protocol):
    """Where heartbeats are kept."""

    def beat(self) -> None:
        """Say that this executor lives."""
        ...

    def silent(self, longer_than_s: float) -> list[str]:
        """Return the executors without a heartbeat for that long."""
        ...

    def forget(self, executor_id: str) -> None:
        """Drop an executor whose jobs were given back."""
        ...


class Leases:
    """The thread that beats for this executor, reaps dead ones, and every ten seconds tends what else may be lost."""

    def __init__(self, heartbeats: Heartbeats, runner: JobRunner, tend: Callable[[], None]) -> None:
        self._heartbeats = heartbeats
        self._runner = runner
        self._tend = tend
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="leases", daemon=True)

    def start(self) -> None:
        """Beat once now, then until stopped."""
        self._heartbeats.beat()
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        beats = 0
        while not self._stopping.wait(BEAT_S):
            try:
                self._heartbeats.beat()
                self._reap()
                if beats % _TEND_EVERY == 0:
                    self._tend()
                beats += 1
            except Exception as error:  # noqa: BLE001 (the edge of the loop: a lease that ends by an error would cost a living job)
                get_logger().warning("lease_interrupted", error=type(error).__name__)

    def _reap(self) -> None:
        for executor_id in self._heartbeats.silent(SILENT_S):
            get_logger().warning("executor_silent", executor_id=executor_id)
            self._runner.recover([executor_id])
            self._heartbeats.forget(executor_id)
