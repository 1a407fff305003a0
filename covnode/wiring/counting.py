"""Asks the source of a series how many instances it has: receive.query, beside the assembly loop.

Comes from assembling, once for each revision of a series that is quiet. A source that does not answer delays its own
series by a bounded time and no other. Original UIDs are read from the spool for the question and kept nowhere.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from covnode.dicom.association import Destination
from covnode.dicom.reading import read_header
from covnode.errors import CovnodeError
from covnode.logs import get_logger
from covnode.receive.query import count_instances
from covnode.settings import Settings

TIMEOUT_S = 5.0
"""The source is awaited this long: its answer makes the verdict better, but must not hold it up."""

_AT_A_TIME = 4
# After it failed, a source is left alone for a while: each of its series would wait for it in vain.
_PAUSE_S = 60.0

Count = Callable[[Settings, str, str, str], int | None]
"""(settings, name of the peer, Study and Series Instance UID) -> how many instances it has; None: it cannot tell."""


def count_by_find(settings: Settings, name: str, study_instance_uid: str, series_instance_uid: str) -> int | None:
    """Ask a peer of the configuration by C-FIND.

    Raises
    ------
    TransientError, DeliveryRefused
        The peer is away, or does not answer such a question.
    """
    peer = settings.peers[name]
    destination = Destination(name, peer.ae_title, peer.host, peer.port, TIMEOUT_S)
    return count_instances(settings.node.ae_title, destination, study_instance_uid, series_instance_uid)


@dataclass(frozen=True)
class _Question:
    asked_s: float
    answer: "Future[int | None]"


@dataclass
class SourceCounts:
    """What the sources say of their series; asked and read by the assembly loop alone."""

    settings: Settings
    count: Count
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_AT_A_TIME, "count-by-find"))
    _questions: dict[tuple[str, int], _Question] = field(default_factory=dict)
    _failed_s: dict[str, float] = field(default_factory=dict)

    def knows(self, source_ae_title: str) -> bool:
        """Whether the configuration says that this source can be asked."""
        return self._peer(source_ae_title) is not None

    def was_asked(self, series: tuple[str, int]) -> bool:
        """Whether the question for this revision of a series was put."""
        return series in self._questions

    def ask(self, series: tuple[str, int], source_ae_title: str, instance: Path) -> None:
        """Ask for this revision of a series; ``instance`` is a file of it."""
        name = self._peer(source_ae_title)
        if name is None:
            return
        if time.monotonic() - self._failed_s.get(name, -_PAUSE_S) < _PAUSE_S:
            nobody: Future[int | None] = Future()
            nobody.set_result(None)
            self._questions[series] = _Question(time.monotonic(), nobody)
            return
        self._questions[series] = _Question(time.monotonic(), self._pool.submit(self._count, series[0], name, instance))

    def is_awaited(self, series: tuple[str, int]) -> bool:
        """Whether the answer may still come in time."""
        question = self._questions.get(series)
        return question is not None and not question.answer.done() and time.monotonic() - question.asked_s < TIMEOUT_S

    def answer(self, series: tuple[str, int]) -> int | None:
        """Return how many instances the source has; None: it was not asked, did not answer or cannot tell."""
        question = self._questions.get(series)
        return question.answer.result() if question is not None and question.answer.done() else None

    def forget_but(self, series_ids: set[str]) -> None:
        """Drop what was asked for series that wait no longer."""
        self._questions = {key: value for key, value in self._questions.items() if key[0] in series_ids}

    def _peer(self, source_ae_title: str) -> str | None:
        called = self.settings.peers_called(source_ae_title)
        return next((name for name, peer in called.items() if peer.count_by_find), None)

    def _count(self, series_id: str, name: str, instance: Path) -> int | None:
        try:
            dataset = read_header(instance, ("StudyInstanceUID", "SeriesInstanceUID")).dataset
            uids = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID))
            return self.count(self.settings, name, *uids)
        except Exception as error:  # noqa: BLE001 (the edge of a thread: without an answer the other evidence counts)
            self._failed_s[name] = time.monotonic()
            # The message of another library's error may quote a UID.
            reason = str(error) if isinstance(error, CovnodeError) else type(error).__name__
            get_logger().warning("count_by_find_failed", series_id=series_id, peer=name, reason=reason)
            return None
