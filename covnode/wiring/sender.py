"""The sender process: identity restored, interlock, C-STORE. Holds the keys; has no torch."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from covnode.clock import utc_now
from covnode.deidentify.key_file import KeyFile
from covnode.deliver.restore import restore_identity
from covnode.deliver.scu import send
from covnode.dicom.association import Destination
from covnode.errors import DeliveryRefused
from covnode.home import Home
from covnode.imaging.mask_file import load_masks
from covnode.interlock.check import check_delivery
from covnode.pipeline.delivery import DeliveryJob, OnStored
from covnode.records.job import DeliveryClaim, DeliveryState, JobKind, queue_name
from covnode.records.result import ObjectKind
from covnode.settings import DeliverSettings, PeerSettings
from covnode.store import audit, deliveries, series
from covnode.store.results import MASKS, StoredResult, load_result
from covnode.store.sealing import Seals
from covnode.store.vault import IdentityVault
from covnode.wiring.node import Node, RoleOfJobs, open_process, run_jobs

_ROLE = "sender"
_KIND = JobKind.DELIVERY
_CONCURRENT_DELIVERIES = 4
_REPORTS = (ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION)


def destination_of(name: str, peer: PeerSettings, timeout_s: float) -> Destination:
    """Return the peer as the C-STORE SCU wants it."""
    return Destination(name, peer.ae_title, peer.host, peer.port, timeout_s)


def objects_for(stored: StoredResult, peer: PeerSettings, delivered: frozenset[str]) -> dict[ObjectKind, Path]:
    """Choose what a destination gets: one SR, with figures of demonstration models only where it accepts them.

    Parameters
    ----------
    delivered
        Kinds that it holds already: an SR that is there stays the one, whatever the settings say since.
    """
    objects = {item.kind: item.path for item in stored.objects}
    wanted = ObjectKind.SR
    if peer.accept_demonstration and ObjectKind.SR_WITH_DEMONSTRATION in objects:
        wanted = ObjectKind.SR_WITH_DEMONSTRATION
    wanted = next((kind for kind in _REPORTS if kind in delivered), wanted)
    return {kind: path for kind, path in objects.items() if kind not in _REPORTS or kind == wanted}


def retry_delay_s(attempt: int, settings: DeliverSettings) -> float:
    """Return the delay before the next attempt: doubled each time up to the longest, with a fifth of jitter."""
    delay_s = min(settings.first_retry_s * 2.0 ** min(attempt - 1, 30), settings.longest_retry_s)
    return delay_s * random.uniform(0.8, 1.2)  # noqa: S311 (spreads retries, keeps no secret)


@dataclass(frozen=True)
class DeliveriesInStore:
    """pipeline.delivery's records, in our tables."""

    node: Node

    def claim(self, delivery_id: str, enqueues: int) -> DeliveryClaim | None:
        """Take the delivery."""
        with self.node.transaction() as session:
            return deliveries.claim(session, delivery_id, enqueues, self.node.executor_id(_ROLE))

    def stored(self, claim: DeliveryClaim, kind: ObjectKind, status: int) -> None:
        """Record that the destination holds the object."""
        objects = load_result(self.node.home.results / claim.analysis_id).objects
        uid = next(item.sop_instance_uid for item in objects if item.kind == kind)
        with self.node.transaction() as session:
            deliveries.record_object(session, claim, kind, uid, status)

    def end(self, claim: DeliveryClaim, state: DeliveryState, code: str | None, reason: str | None) -> None:
        """Record how the delivery ended."""
        with self.node.transaction() as session:
            deliveries.mark_ended(session, claim, state, code, reason)

    def retry_later(self, claim: DeliveryClaim, reason: str) -> float:
        """Enqueue the next attempt in the transaction that records this one's failure; or give up."""
        settings = self.node.settings.deliver
        tried_s = (utc_now() - claim.first_claimed_at).total_seconds()
        if tried_s > settings.give_up_after_s:
            self.end(claim, DeliveryState.FAILED, "gave_up", f"given up after {tried_s / 3600:.0f} h: {reason}")
            return 0.0
        delay_s = retry_delay_s(claim.attempt, settings)
        with self.node.transaction() as session:
            job = deliveries.retry_later(session, claim, delay_s, reason)
            self.node.queue.enqueue(session, job)
        return delay_s


@dataclass(frozen=True)
class DeliveryStages:
    """pipeline.delivery's steps, wired to the stages."""

    node: Node
    vault: IdentityVault

    def restore(self, claim: DeliveryClaim) -> Mapping[ObjectKind, Path]:
        """Write the final bytes into the delivery's folder of the outbox; the same bytes at every attempt."""
        stored = load_result(self.node.home.results / claim.analysis_id)
        why = audit.Access(_ROLE, audit.Action.DELIVER, "a delivery")
        with self.node.transaction() as session:
            identity = self.vault.read(session, claim.series_id, claim.revision, why, [claim.delivery_id])
        folder = self.node.home.outbox / claim.delivery_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        final = {}
        for kind, source in objects_for(stored, self._peer(claim), claim.delivered).items():
            final[kind] = folder / source.name
            restore_identity(source, final[kind], identity)
        return final

    def check(self, claim: DeliveryClaim, objects: Mapping[ObjectKind, Path]) -> None:
        """Hold the final bytes against the stored masks, the record and the files as received."""
        folder = self.node.home.results / claim.analysis_id
        spool = self.node.home.spool
        with self.node.transaction() as session:
            originals = [spool / row.file_name for row in series.input_of(session, claim.series_id)]
        check_delivery(
            objects, result=load_result(folder).result, masks=load_masks(folder / MASKS), originals=originals
        )

    def send(self, claim: DeliveryClaim, objects: Mapping[ObjectKind, Path], on_stored: OnStored) -> None:
        """C-STORE what the destination does not hold yet."""
        kinds = {path: kind for kind, path in objects.items()}
        if not kinds:
            return
        send(
            self.node.settings.node.ae_title,
            destination_of(claim.destination, self._peer(claim), self.node.settings.deliver.timeout_s),
            list(kinds),
            lambda path, status: on_stored(kinds[path], status),
        )

    def _peer(self, claim: DeliveryClaim) -> PeerSettings:
        peer = self.node.settings.peers.get(claim.destination)
        if peer is None:
            raise DeliveryRefused(f"there is no peer {claim.destination} in the configuration", code="unknown_peer")
        return peer


def _queues(node: Node) -> list[str]:
    """Return a queue for each peer, and for each destination that is none any more and that something waits for."""
    with node.transaction() as session:
        waiting = deliveries.destinations_waited_for(session)
    # Older releases had one queue for all destinations.
    return [queue_name(_KIND), *(queue_name(_KIND, name) for name in sorted(waiting | node.settings.peers.keys()))]


def run_sender(home: Home) -> None:
    """Run until asked to stop."""
    node = open_process(home, _ROLE)
    vault = IdentityVault(Seals(KeyFile(home.keys)))
    job = DeliveryJob(DeliveriesInStore(node), DeliveryStages(node, vault))
    role = RoleOfJobs(_ROLE, _KIND, _queues(node), _CONCURRENT_DELIVERIES, grace_s=10)
    run_jobs(node, role, job.run, on_stop=lambda: None)
