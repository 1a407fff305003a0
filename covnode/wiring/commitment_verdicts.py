"""What a storage commitment may say: which of the named instances are durable here, and which are not.

Comes from a request's references; looks into the database by keyed digest and at the spool's files; goes to the report.
It reads a
file only where its length is not the recorded one.
"""

import time
from dataclasses import dataclass

from covnode.deidentify.keys import Digests
from covnode.errors import TransientError
from covnode.queue.leases import SILENT_S
from covnode.receive.commitment import CommitmentRequest
from covnode.receive.commitment_report import CLASS_INSTANCE_CONFLICT, NO_SUCH_OBJECT, Reference, Report
from covnode.receive.file_meta import is_whole
from covnode.store import executors
from covnode.store.commitments import HeldFile, files_of
from covnode.wiring.node import Node

_LOOK_AGAIN_S = 0.2


@dataclass(frozen=True)
class Verdicts:
    """What is durable of the instances that a request names."""

    node: Node
    digest: Digests

    def on(self, request: CommitmentRequest, until_s: float) -> Report:
        """Return the report as it is true now.

        Parameters
        ----------
        until_s
            Monotonic time until which something missing is looked for again: a row may follow its Success.

        Raises
        ------
        TransientError
            The database is away: nothing can be said.
        """
        while True:
            report = self._look(request)
            if all(reason != NO_SUCH_OBJECT for _reference, reason in report.failed) or time.monotonic() >= until_s:
                return report
            time.sleep(_LOOK_AGAIN_S)

    def _look(self, request: CommitmentRequest) -> Report:
        digests = [self.digest(reference.uid) for reference in request.references]
        with self.node.transaction() as session:
            recorded = files_of(session, digests)
        stored: list[Reference] = []
        failed: list[tuple[Reference, int]] = []
        for reference, digest in zip(request.references, digests, strict=True):
            durable = [held for held in recorded.get(digest, []) if self._is_durable(held)]
            if not durable:
                failed.append((reference, NO_SUCH_OBJECT))
            elif reference.sop_class_uid not in {held.sop_class_uid for held in durable}:
                failed.append((reference, CLASS_INSTANCE_CONFLICT))
            else:
                stored.append(reference)
        return Report(request.transaction_uid, tuple(stored), tuple(failed))

    def _is_durable(self, held: HeldFile) -> bool:
        path = self.node.home.spool / held.file_name
        try:
            # Where an instance came twice, the file may have the meta information of the other time, and its length.
            return path.stat().st_size == held.size_bytes or is_whole(path)
        except FileNotFoundError:
            return held.spool not in {None, self.node.spool} and self._is_durable_elsewhere(held)
        except OSError:
            # A disk that does not answer says nothing of what lies on it.
            raise TransientError("the spool cannot be read") from None

    def _is_durable_elsewhere(self, held: HeldFile) -> bool:
        """Whether the host that has the series, and alone can look at the file, has it still: by its word."""
        with self.node.transaction() as session:
            living = {row.executor_id for row in executors.living(session, SILENT_S)}
        if held.receiver not in living:
            raise TransientError("the host that has it does not answer")
        return held.files_held
