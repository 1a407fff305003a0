"""A queue that wakes whoever sleeps until something is in one of several places.

Stands in upper_layer for the queues that pynetdicom polls.
"""

import queue
from collections.abc import Callable
from typing import Any


class TellingQueue(queue.Queue[Any]):
    """A queue that says when something was put."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 (as the base class)
        """Put, then tell."""
        super().put(item, block, timeout)
        self._tell()
