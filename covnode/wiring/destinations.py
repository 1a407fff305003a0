"""The destinations as the sender sees them: how long it pauses, and the watch over those that are away.

Runs in the sender beside the deliveries. It asks by C-ECHO whether a destination that is away is back, and queues
again what has nothing to wait for any more. All it knows stands in our tables, so several senders share the work.
"""

import random
import threading
from dataclasses import dataclass, field
from functools import partial

from covnode.deliver.scu import echo
from covnode.dicom.association import REJECTED, Destination
from covnode.errors import CovnodeError, DeliveryRefused, PeerAway, StaleClaim
from covnode.logs import get_logger
from covnode.settings import DeliverSettings, PeerSettings
from covnode.store import destinations, waiting
from covnode.wiring.node import Node

_LOOK_EVERY_S = 1.0
_AFTER_ERROR_S = 10.0
_RELEASED_AT_ONCE = 100
# An association, its answer and its release each take up to the time-out.
_TIMEOUTS_OF_A_PROBE = 4


def destination_of(name: str, peer: PeerSettings, timeout_s: float) -> Destination:
    """Return the peer as the C-STORE SCU wants it."""
    return Destination(name, peer.ae_title, peer.host, peer.port, timeout_s)


def growing_delay_s(failures: int, first_s: float, longest_s: float) -> float:
    """Return a delay that doubles with each failure in a row up to the longest, less up to a quarter by chance."""
    delay_s = min(first_s * 2.0 ** min(failures - 1, 30), longest_s)
    return delay_s * random.uniform(0.75, 1.0)  # noqa: S311 (spreads retries, keeps no secret)


def note_reached(node: Node, destination: str) -> None:
    """Note that the destination answers."""
    with node.transaction() as session:
        was_away = destinations.note_reached(session, destination)
    if was_away:
        get_logger().info("destination_back", destination=destination)


def probe_pause_s(settings: DeliverSettings, failures: int) -> float:
    """Return how long a destination is left alone after so many failures in a row."""
    return growing_delay_s(failures, settings.first_retry_s, settings.longest_probe_s)


@dataclass
class DestinationWatch:
    """Probes what is away, and releases what waits; ``nudge`` it when a delivery has ended."""

    node: Node
    _nudged: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Look every second, on a thread that ends with the process."""
        threading.Thread(target=self._loop, name="destinations", daemon=True).start()

    def nudge(self) -> None:
        """Look now: the next delivery of a study may go."""
        self._nudged.set()

    def look(self) -> None:
        """Look once."""
        settings = self.node.settings.deliver
        with self.node.transaction() as session:
            due = destinations.probes_due(session)
            given_up = waiting.give_up_waiting(session, settings.give_up_after_s)
        for delivery_id in given_up:
            get_logger().error("delivery_failed", delivery_id=delivery_id, error=waiting.GAVE_UP)
        for destination in due:
            # Its own thread: one that does not answer keeps the others waiting no longer than the look takes.
            threading.Thread(target=self._probe_on_thread, args=(destination,), daemon=True).start()
        self._release()

    def probe(self, destination: str) -> None:
        """Ask a destination that is away whether it is back; any answer but a rejection says so."""
        peer, settings = self.node.settings.peers.get(destination), self.node.settings.deliver
        with self.node.transaction() as session:
            destinations.take_probe(session, destination, _TIMEOUTS_OF_A_PROBE * settings.timeout_s)
        try:
            if peer is not None:
                echo(self.node.settings.node.ae_title, destination_of(destination, peer, settings.timeout_s))
        except (PeerAway, DeliveryRefused) as error:
            # Who takes no C-ECHO is there; who rejects the association would have every delivery parked.
            if isinstance(error, PeerAway) or error.code == REJECTED:
                with self.node.transaction() as session:
                    destinations.prolong(session, destination, str(error), partial(probe_pause_s, settings))
                return
        except CovnodeError:
            pass  # an answer, if not the wanted one
        # A destination that is no peer any more counts as back, too: its deliveries are parked with that reason.
        note_reached(self.node, destination)
        self.nudge()

    def _probe_on_thread(self, destination: str) -> None:
        try:
            self.probe(destination)
        except StaleClaim:
            pass  # another sender asks
        except Exception as error:  # noqa: BLE001 (the edge of the thread: the next look begins anew)
            get_logger().warning("probe_interrupted", destination=destination, error=type(error).__name__)

    def _release(self) -> None:
        while True:
            with self.node.transaction() as session:
                jobs = waiting.release(session, _RELEASED_AT_ONCE)
                for job in jobs:
                    self.node.queue.enqueue(session, job)
            if len(jobs) < _RELEASED_AT_ONCE:
                return

    def _loop(self) -> None:
        pause_s = _LOOK_EVERY_S
        while True:
            self._nudged.wait(pause_s)
            self._nudged.clear()
            try:
                self.look()
                pause_s = _LOOK_EVERY_S
            except Exception as error:  # noqa: BLE001 (the edge of the loop: the database may be away)
                get_logger().warning("watch_interrupted", error=type(error).__name__)
                pause_s = _AFTER_ERROR_S
