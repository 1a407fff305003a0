"""Heartbeats, and the reaper: the open engine does not take over the jobs of a dead executor by itself.

Every process that runs jobs beats every 2 s on the database's clock; any living one gives the jobs of an executor that
was silent for 8 s back to their queues.
"""

import threading
from typing import Protocol

from covnode.errors import TransientError
from covnode.logs import get_logger
from covnode.queue.port import JobRunner

BEAT_S = 2.0
SILENT_S = 8.0


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
    """The thread that beats for this executor and reaps the dead ones."""

    def __init__(self, heartbeats: Heartbeats, runner: JobRunner) -> None:
        self._heartbeats = heartbeats
        self._runner = runner
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
        log = get_logger()
        while not self._stopping.wait(BEAT_S):
            try:
                self._heartbeats.beat()
                for executor_id in self._heartbeats.silent(SILENT_S):
                    log.warning("executor_silent", executor_id=executor_id)
                    self._runner.recover([executor_id])
                    self._heartbeats.forget(executor_id)
            except TransientError as error:
                log.warning("heartbeat_failed", reason=str(error))
