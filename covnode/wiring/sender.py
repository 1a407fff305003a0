"""The sender process: identity restored, interlock, C-STORE. Holds the keys; has no torch."""

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from covnode.clock import utc_now
from covnode.deidentify.key_file import KeyFile
from covnode.deliver.restore import restore_identity
from covnode.deliver.scu import send
from covnode.errors import CovnodeError, DeliveryRefused, PeerAway, StaleClaim, StorageAway, TransientError
from covnode.home import Home
from covnode.imaging.mask_file import load_masks
from covnode.interlock.check import check_delivery
from covnode.logs import get_logger
from covnode.pipeline.delivery import DeliveryJob, OnStored
from covnode.records.job import DeliveryClaim, DeliveryState, JobKind, queue_name
from covnode.records.result import ObjectKind
from covnode.settings import PeerSettings
from covnode.store import audit, deliveries, destinations, series, waiting
from covnode.store.results import MASKS, StoredResult, load_result
from covnode.store.sealing import Seals
from covnode.store.vault import IdentityVault
from covnode.wiring.destinations import (
    DestinationWatch,
    destination_of,
    growing_delay_s,
    note_reached,
    probe_pause_s,
)
from covnode.wiring.node import Node, RoleOfJobs, open_process, run_jobs
from covnode.wiring.room import needs_of, room_for_jobs
from covnode.wiring.setbacks import Cause, cause_of, in_words

_ROLE = "sender"
_KIND = JobKind.DELIVERY
_REPORTS = (ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION)


def objects_for(stored: StoredResult, peer: PeerSettings, delivered: frozenset[str]) -> dict[ObjectKind, Path]:
    """Choose what a destination gets: one SR, with figures of demonstration models only where it accepts them.

    What an object refers to comes before it.

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
    chosen = {kind: path for kind, path in objects.items() if kind not in _REPORTS or kind == wanted}
    # The SR refers to the SEG.
    return dict(sorted(chosen.items(), key=lambda item: item[0] in _REPORTS))


@contextlib.contextmanager
def _disk_may_come_back() -> Iterator[None]:
    """Tell a full disk or a medium that is away, which pass, from a file that is at fault."""
    try:
        yield
    except OSError as error:
        if cause_of(error) is Cause.OTHER:
            raise
        raise StorageAway(f"the files of the delivery cannot be used at present: {in_words(error)}") from None


def _fetched_results(node: Node) -> Path:
    """Return where the sender keeps the results that it has from the object store, while it delivers them."""
    return node.home.scratch / "results"


def _result_folder(node: Node, claim: DeliveryClaim) -> Path:
    """Return the folder of the result; it is fetched once an attempt."""
    fetched = _fetched_results(node) / f"{claim.delivery_id}-{claim.fence}"
    return node.handover.fetched(node.home.results / claim.analysis_id, claim.result_place, fetched)


@dataclass(frozen=True)
class DeliveriesInStore:
    """pipeline.delivery's records, in our tables."""

    node: Node
    watch: DestinationWatch
    # One after the other: two that a sender died beside would not see each other, and be sent by this one at once.
    _claiming: threading.Lock = field(default_factory=threading.Lock)
    _fences: dict[str, int] = field(default_factory=dict)

    def claim(self, delivery_id: str, enqueues: int) -> DeliveryClaim | None:
        """Take the delivery, or send it on to the sender that has the files as received."""
        me, own_fence = self.node.executor_id(_ROLE), self._fences.get(delivery_id, 0)
        with self._claiming, self.node.transaction() as session:
            elsewhere = deliveries.send_on(session, delivery_id, enqueues) if self.node.spool is not None else None
            if elsewhere is not None:
                self.node.queue.enqueue(session, elsewhere)
                return None
            claim = deliveries.claim(session, delivery_id, enqueues, me, own_fence)
        if claim is not None:
            self._fences[delivery_id] = claim.fence
        return claim

    def stopping(self) -> None:
        """Count what is broken off on request as no crash."""
        with self.node.transaction() as session:
            deliveries.put_back(session, self.node.executor_id(_ROLE))

    def stored(self, claim: DeliveryClaim, kind: ObjectKind, status: int) -> None:
        """Record that the destination holds the object; StaleClaim when the delivery is not to go on."""
        objects = load_result(_result_folder(self.node, claim)).objects
        uid = next(item.sop_instance_uid for item in objects if item.kind == kind)
        with self.node.transaction() as session:
            goes_on = deliveries.record_object(session, claim, kind, uid, status)
        if not goes_on:
            raise StaleClaim("the delivery has ended meanwhile")

    def end(self, claim: DeliveryClaim, state: DeliveryState, code: str | None, reason: str | None) -> None:
        """Record how the delivery ended, and let the next one of its study go."""
        with self.node.transaction() as session:
            deliveries.mark_ended(session, claim, state, code, reason)
        self._fences.pop(claim.delivery_id, None)
        self._forget_result(claim)
        self.watch.nudge()

    def retry_later(self, claim: DeliveryClaim, error: TransientError) -> bool:
        """Have the delivery tried again: after a growing delay, or when a destination that is away is back."""
        self._forget_result(claim)
        settings = self.node.settings.deliver
        tried_s = (utc_now() - claim.first_claimed_at).total_seconds()
        if tried_s > settings.give_up_after_s:
            reason = f"given up after {tried_s / 3600:.0f} h: {error}"
            self.end(claim, DeliveryState.FAILED, waiting.GAVE_UP, reason)
            return False
        with self.node.transaction() as session:
            is_news = isinstance(error, PeerAway) and self._note_failure(session, claim.destination, str(error))
            if isinstance(error, PeerAway) and destinations.is_away(session, claim.destination):
                deliveries.wait_for_destination(session, claim, str(error))
            else:
                delay_s = growing_delay_s(claim.attempt, settings.first_retry_s, settings.longest_retry_s)
                # One that is not reached at all keeps everybody waiting anyway.
                lets_pass = tried_s > settings.keep_order_s and not isinstance(error, PeerAway)
                job = deliveries.retry_later(session, claim, delay_s, str(error), lets_pass=lets_pass)
                self.node.queue.enqueue(session, job)
        if is_news:
            get_logger().warning("destination_away", destination=claim.destination, reason=str(error))
        return True

    def _forget_result(self, claim: DeliveryClaim) -> None:
        shutil.rmtree(_fetched_results(self.node) / f"{claim.delivery_id}-{claim.fence}", ignore_errors=True)

    def _note_failure(self, session: Session, destination: str, reason: str) -> bool:
        settings = self.node.settings.deliver
        pause_s = partial(probe_pause_s, settings)
        return destinations.note_failure(session, destination, reason, settings.away_after_failures, pause_s)


@dataclass(frozen=True)
class DeliveryStages:
    """pipeline.delivery's steps, wired to the stages."""

    node: Node
    vault: IdentityVault

    def unsent(self, claim: DeliveryClaim) -> set[ObjectKind]:
        """Return what this destination is to get and is not known to hold."""
        stored = load_result(_result_folder(self.node, claim))
        return objects_for(stored, self._peer(claim), claim.delivered).keys() - claim.delivered

    def restore(self, claim: DeliveryClaim) -> Mapping[ObjectKind, Path]:
        """Write the final bytes into the delivery's folder of the outbox; what lies there is what leaves."""
        stored = load_result(_result_folder(self.node, claim))
        folder = self.node.home.outbox / claim.delivery_id
        sources = objects_for(stored, self._peer(claim), claim.delivered)
        final = {kind: folder / source.name for kind, source in sources.items()}
        # An attempt may have sent them without a note of it: the destination must not get other bytes under their UIDs.
        lacking = [kind for kind, path in final.items() if not path.exists()]
        if lacking:
            why = audit.Access(_ROLE, audit.Action.DELIVER, "a delivery")
            with self.node.transaction() as session:
                identity = self.vault.read(session, claim.series_id, claim.revision, why, [claim.delivery_id])
            with _disk_may_come_back():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                for kind in lacking:
                    restore_identity(sources[kind], final[kind], identity)
        return final

    def check(self, claim: DeliveryClaim, objects: Mapping[ObjectKind, Path]) -> None:
        """Hold the final bytes against the stored masks, the record and the files as received."""
        folder = _result_folder(self.node, claim)
        spool = self.node.home.spool
        with self.node.transaction() as session:
            originals = [spool / row.file_name for row in series.input_of(session, claim.series_id)]
        try:
            with _disk_may_come_back():
                check_delivery(
                    objects, result=load_result(folder).result, masks=load_masks(folder / MASKS), originals=originals
                )
        except DeliveryRefused:
            # They never leave: a person who has the delivery tried again has them written anew.
            for path in objects.values():
                path.unlink(missing_ok=True)
            raise

    def send(self, claim: DeliveryClaim, objects: Mapping[ObjectKind, Path], on_stored: OnStored) -> None:
        """C-STORE what the destination does not hold yet."""
        kinds = {path: kind for kind, path in objects.items()}
        if not kinds:
            return
        where = destination_of(claim.destination, self._peer(claim), self.node.settings.deliver.timeout_s)
        try:
            send(
                self.node.settings.node.ae_title,
                where,
                list(kinds),
                lambda path, status: on_stored(kinds[path], status),
            )
        except PeerAway:
            raise
        except CovnodeError:
            # Whatever went wrong, the destination had answered.
            note_reached(self.node, claim.destination)
            raise
        note_reached(self.node, claim.destination)

    def _peer(self, claim: DeliveryClaim) -> PeerSettings:
        peer = self.node.settings.peers.get(claim.destination)
        if peer is None:
            raise DeliveryRefused(f"there is no peer {claim.destination} in the configuration", code="unknown_peer")
        return peer


def _queues(node: Node) -> tuple[list[str], tuple[str, ...]]:
    """Return a queue for each peer, and for each destination that is none any more and that something waits for.

    Behind them the same for this host's spool alone, where hosts share none.
    """
    with node.transaction() as session:
        waited_for = deliveries.destinations_waited_for(session)
    # Older releases had one queue for all destinations.
    destinations = sorted(waited_for | node.settings.peers.keys())
    return [queue_name(_KIND), *(queue_name(_KIND, name) for name in destinations)], tuple(
        queue_name(_KIND, name, node.spool) for name in destinations if node.spool is not None
    )


def run_sender(home: Home) -> None:
    """Run until asked to stop."""
    node = open_process(home, _ROLE)
    vault = IdentityVault(Seals(KeyFile(home.keys)))
    shutil.rmtree(_fetched_results(node), ignore_errors=True)
    watch = DestinationWatch(node)
    records = DeliveriesInStore(node, watch)
    job = DeliveryJob(records, DeliveryStages(node, vault))
    watch.start()
    has_room = room_for_jobs(needs_of(node)[_ROLE])
    concurrency = node.settings.deliver.associations
    queues, of_spool = _queues(node)
    role = RoleOfJobs(_ROLE, _KIND, queues, concurrency, grace_s=10, has_room=has_room, of_spool=of_spool)
    run_jobs(node, role, job.run, on_stop=records.stopping)
