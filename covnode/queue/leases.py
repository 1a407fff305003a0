"""Heartbeats, and the reaper: the open engine does not take over the jobs of a dead executor by itself.

Every process that runs jobs beats every 2 s on the database's clock, and so does every receiver; any living one of its
kind takes over what an executor left that was silent for 8 s.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from covnode.logs import get_logger

BEAT_S = 2.0
SILENT_S = 8.0
_TEND_EVERY = 5
# A beat that comes later than this may have waited for the database, and so may have those of all others.
_LATE_S = 2 * BEAT_S


class Heartbeats(Protocol):
    """Where heartbeats are kept."""

    def beat(self) -> None:
        """Say that this executor lives."""
        ...

    def silent(self, longer_than_s: float) -> list[str]:
        """Return the executors that this one can stand in for and that had no heartbeat for that long."""
        ...


class Leases:
    """The thread that beats for this executor, reaps dead ones, and every ten seconds tends what else may be lost.

    Parameters
    ----------
    take_over
        Takes over what an executor left, by its id, and drops its heartbeat when that is done; called again until then.
    """

    def __init__(self, heartbeats: Heartbeats, take_over: Callable[[str], None], tend: Callable[[], None]) -> None:
        self._heartbeats = heartbeats
        self._take_over = take_over
        self._tend = tend
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="leases", daemon=True)
        self._beaten_at_s = self._steady_since_s = -math.inf

    def start(self) -> None:
        """Beat once now, then until stopped."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        beats = 0
        while not self._stopping.wait(BEAT_S):
            try:
                self._beat()
                self._reap()
                if beats % _TEND_EVERY == 0:
                    self._tend()
                beats += 1
            except Exception as error:  # noqa: BLE001 (the edge of the loop: a lease that ends by an error would cost a living job)
                get_logger().warning("lease_interrupted", error=type(error).__name__)

    def _beat(self) -> None:
        self._heartbeats.beat()
        now_s = time.monotonic()
        if now_s - self._beaten_at_s > _LATE_S:
            self._steady_since_s = now_s
        self._beaten_at_s = now_s

    def _reap(self) -> None:
        # While the database was away nobody could beat: who is silent is seen when all have had the time again.
        if time.monotonic() - self._steady_since_s < SILENT_S:
            return
        for executor_id in self._heartbeats.silent(SILENT_S):
            get_logger().warning("executor_silent", executor_id=executor_id)
            self._take_over(executor_id)
