"""Room on the node's disks: what waits while there is too little of it, and who says so, once at each crossing.

Called by the receiver for the warning, by worker and sender before each job, by the doctor. Never removes anything.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from covnode.disk import Watermark
from covnode.logs import get_logger
from covnode.wiring.node import Node


class Need(NamedTuple):
    """What is written where, and the least room for it.

    Attributes
    ----------
    setting
        Key of the least room in the configuration.
    waits
        What happens with less.
    """

    folder: Path
    setting: str
    least_gb: float
    waits: str


def needs_of(node: Node) -> dict[str, Need]:
    """Return what each role must have room for."""
    settings, home = node.settings, node.home
    return {
        "receiver": Need(home.spool, "receive.min_free_gb", settings.receive.min_free_gb, "nothing is received"),
        "worker": Need(home.results, "worker.min_free_gb", settings.worker.min_free_gb, "analyses wait"),
        "sender": Need(home.outbox, "deliver.min_free_gb", settings.deliver.min_free_gb, "deliveries wait"),
    }


class DiskWarnings:
    """Warns once when a disk falls below ``node.warn_free_gb``, and says once when it has room again."""

    def __init__(self, node: Node) -> None:
        home = node.home
        disks: dict[int, Path] = {}
        for folder in (home.root, home.spool, home.deidentified, home.results, home.outbox):
            disks.setdefault(folder.stat().st_dev, folder)
        self._watermarks = [Watermark(folder, node.settings.node.warn_free_gb) for folder in disks.values()]
        self._low: set[Path] = set()

    def look(self) -> None:
        """Look at every disk."""
        for watermark in self._watermarks:
            is_low = watermark.is_below()
            if is_low == (watermark.folder in self._low):
                continue
            (self._low.add if is_low else self._low.remove)(watermark.folder)
            about = {"disk_of": str(watermark.folder), "free_gb": round(watermark.free_gb, 1)}
            if is_low:
                get_logger().warning("disk_low", warn_free_gb=watermark.least_gb, **about)
            else:
                get_logger().info("disk_has_room", **about)


def room_for_jobs(need: Need) -> Callable[[], bool]:
    """Return what asks whether a job may begin, and logs each crossing once."""
    watermark = Watermark(need.folder, need.least_gb)
    lock = threading.Lock()
    waiting = False

    def has_room() -> bool:
        nonlocal waiting
        with lock:
            was_waiting, waiting = waiting, watermark.is_below()
            if waiting != was_waiting:
                free_gb = round(watermark.free_gb, 1)
                if waiting:
                    get_logger().warning("jobs_wait_for_room", free_gb=free_gb, setting=need.setting)
                else:
                    get_logger().info("jobs_go_on", free_gb=free_gb)
            return not waiting

    return has_room
