"""Who claimed what and who wrote under which claim, as the processes tell it: shows a writer that had lost its claim.

Written by chaos.failpoints from within the roles, one line a call that took effect; read by chaos.proof.
"""

import functools
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from covnode.records.job import AnalysisClaim, DeliveryClaim

_NAME = "journal.jsonl"

CLAIMS = ("covnode.wiring.worker:AnalysesInStore.claim", "covnode.wiring.sender:DeliveriesInStore.claim")
WRITES = (
    "covnode.wiring.worker:AnalysesInStore.finish",
    "covnode.wiring.worker:AnalysesInStore.end",
    "covnode.wiring.worker:AnalysesInStore.interrupted",
    "covnode.wiring.sender:DeliveriesInStore.end",
    "covnode.wiring.sender:DeliveriesInStore.retry_later",
)
"""What only the holder of the newest claim may write. That a PACS holds an object is true whoever says it."""


@dataclass(frozen=True)
class Entry:
    """One call that took effect: between its start and its end, by the machine's monotonic clock."""

    subject_id: str
    fence: int
    is_claim: bool
    started_s: float
    ended_s: float


def fence_of(claim: AnalysisClaim | DeliveryClaim) -> tuple[str, int]:
    """Return what was claimed, and the number that grows with every claim of it."""
    if isinstance(claim, AnalysisClaim):
        return claim.analysis_id, claim.fence
    return claim.delivery_id, claim.fence


class Journal:
    """The file of one node."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _NAME

    def claiming(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a method that returns a claim or None."""

        @functools.wraps(call)
        def told(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 (whatever the method takes and gives)
            started_s = time.monotonic()
            claim = call(*arguments, **keywords)
            if claim is not None:
                self._tell(claim, started_s, is_claim=True)
            return claim

        return told

    def writing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a method whose first argument is the claim that it writes under."""

        @functools.wraps(call)
        def told(records: object, claim: AnalysisClaim | DeliveryClaim, *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 (as above)
            started_s = time.monotonic()
            result = call(records, claim, *arguments, **keywords)
            self._tell(claim, started_s, is_claim=False)
            return result

        return told

    def _tell(self, claim: AnalysisClaim | DeliveryClaim, started_s: float, *, is_claim: bool) -> None:
        entry = Entry(*fence_of(claim), is_claim, started_s, time.monotonic())
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, (json.dumps(asdict(entry)) + "\n").encode())
        finally:
            os.close(descriptor)

    def stale_writes(self) -> list[str]:
        """Return what was written under a claim after a newer claim of the same was there: nothing, if fences hold."""
        entries: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self._read():
            entries[entry.subject_id].append(entry)
        return [
            f"{subject_id}: written under claim {write.fence} when claim {newer.fence} was there"
            for subject_id, told in entries.items()
            for write in told
            if not write.is_claim
            for newer in told
            if newer.is_claim and newer.fence > write.fence and newer.ended_s < write.started_s
        ]

    def _read(self) -> Iterator[Entry]:
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                yield Entry(**json.loads(line))
