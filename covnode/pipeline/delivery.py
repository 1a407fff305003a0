"""The way back: identity restored, the interlock, and the C-STORE.

Comes from the queue; goes to the PACS. One run is one attempt: what fails for the moment is tried again with a growing
delay, or when a destination that is away is back; what fails for good is parked with its reason, and the log has an
error. So is what three senders in a row died of. An object that the destination holds is never sent again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from covnode.errors import CovnodeError, DeliveryRefused, StaleClaim, TransientError
from covnode.logs import get_logger
from covnode.records.job import MAX_CRASHES, DeliveryClaim, DeliveryState
from covnode.records.result import ObjectKind

OnStored = Callable[[ObjectKind, int], None]


class DeliveryRecords(Protocol):
    """What the store does for the sender, each in one transaction."""

    def claim(self, delivery_id: str, enqueues: int) -> DeliveryClaim | None:
        """Take the delivery for that enqueue of it; None when there is nothing to do, or it has to wait."""
        ...

    def stored(self, claim: DeliveryClaim, kind: ObjectKind, status: int) -> None:
        """Record that the destination holds the object; StaleClaim when the delivery is not to go on."""
        ...

    def end(self, claim: DeliveryClaim, state: DeliveryState, code: str | None, reason: str | None) -> None:
        """Record how the delivery ended."""
        ...

    def retry_later(self, claim: DeliveryClaim, error: TransientError) -> bool:
        """Have the delivery tried again later, or give it up; return whether it is tried again."""
        ...


class DeliverySteps(Protocol):
    """The stages of a delivery."""

    def unsent(self, claim: DeliveryClaim) -> set[ObjectKind]:
        """Return what this destination is to get and is not known to hold."""
        ...

    def restore(self, claim: DeliveryClaim) -> Mapping[ObjectKind, Path]:
        """Write the final bytes of the objects that this destination gets, under the patient's own identity."""
        ...

    def check(self, claim: DeliveryClaim, objects: Mapping[ObjectKind, Path]) -> None:
        """Run the interlock over the final bytes; DeliveryRefused when anything differs."""
        ...

    def send(self, claim: DeliveryClaim, objects: Mapping[ObjectKind, Path], on_stored: OnStored) -> None:
        """C-STORE the objects."""
        ...


@dataclass(frozen=True)
class DeliveryJob:
    """claim -> restore identity -> interlock -> send."""

    records: DeliveryRecords
    steps: DeliverySteps

    def run(self, delivery_id: str, enqueues: int) -> None:
        """Make one attempt."""
        claim = self.records.claim(delivery_id, enqueues)
        if claim is None:
            return
        try:
            self._attempt(claim)
        except StaleClaim:
            get_logger().warning("delivery_taken_over", delivery_id=delivery_id)

    def _attempt(self, claim: DeliveryClaim) -> None:
        log = get_logger().bind(delivery_id=claim.delivery_id, destination=claim.destination, attempt=claim.attempt)
        try:
            # Where the destination holds everything, the sender died of something else, or beside it.
            if claim.crashes >= MAX_CRASHES and self.steps.unsent(claim):
                reason = f"given up: {claim.crashes} times in a row the sender died while it sent this"
                self.records.end(claim, DeliveryState.FAILED, "given_up", reason)
                log.error("delivery_failed", error="given_up", reason=reason)
                return
            objects = self.steps.restore(claim)
            self.steps.check(claim, objects)
            unsent = {kind: path for kind, path in objects.items() if kind not in claim.delivered}
            self.steps.send(claim, unsent, lambda kind, status: self.records.stored(claim, kind, status))
            self.records.end(claim, DeliveryState.DELIVERED, None, None)
            log.info("delivered", objects=len(objects))
        except TransientError as error:
            if self.records.retry_later(claim, error):
                log.warning("delivery_postponed", reason=str(error))
            else:
                log.error("delivery_failed", error=type(error).__name__, reason=str(error))
        except DeliveryRefused as error:
            self.records.end(claim, DeliveryState.BLOCKED, error.code, str(error))
            log.error("delivery_blocked", code=error.code, reason=str(error))
        except StaleClaim:
            raise
        except Exception as error:  # noqa: BLE001 (the edge of the sender's loop: the message may hold an identity)
            reason = str(error) if isinstance(error, CovnodeError) else "an unforeseen error"
            self.records.end(claim, DeliveryState.FAILED, type(error).__name__, reason)
            log.error("delivery_failed", error=type(error).__name__, reason=reason)
