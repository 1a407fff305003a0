"""Kill -9 of the receiver's processes while instances come in: nothing that was answered with Success is lost."""

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from dicom_instances import SyntheticSeries
from dicom_sender import SUCCESS, Association, Ended, Message, Peer, Rejected
from processes import wait_until
from receiving_node import ReceivingNode

from covnode.cli.local_node import NODE_AE

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = 4
VICTIMS = ("receiver", "door", "door", "door", "door")  # what dies often starts again ever later: each in its turn
SIZE = 64
SERIES_LENGTH = 60
_RETRY_S = 0.1


class Sender(threading.Thread):
    """Pushes instances one after the other; comes back and repeats what was not answered, until told to stop."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self._peer = Peer(port, NODE_AE, f"SENDER{number}")
        self._number = number
        self._stopping = threading.Event()
        self.answered: list[tuple[int, int]] = []
        self.refused: list[int] = []
        self.broken_off = 0

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._push()
            except (Ended, OSError, Rejected):
                self.broken_off += 1
                time.sleep(_RETRY_S)

    def _push(self) -> None:
        association = Association(self._peer, timeout_s=20)
        while not self._stopping.is_set():
            series, instance = divmod(len(self.answered), SERIES_LENGTH)
            number = 1000 * self._number + series
            status = association.store(Message(association, SyntheticSeries(number, SIZE)).of(instance))
            if status != SUCCESS:
                self.refused.append(status)
                continue
            self.answered.append((number, instance))
        association.release()

    def stop(self) -> None:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()

    @property
    def digests(self) -> list[str]:
        return [SyntheticSeries(number, SIZE).digest(instance) for number, instance in self.answered]


def doors_of(receiver: int) -> list[int]:
    """Return the processes that take instances in."""
    try:
        tasks = list(Path(f"/proc/{receiver}/task").glob("*/children"))
        pids = [int(pid) for task in tasks for pid in task.read_text().split()]
        return [pid for pid in pids if b"covnode.wiring.door" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.fixture
def node(tmp_path):
    node = ReceivingNode(tmp_path / "home")
    node.init()
    node.start()
    yield node
    node.stop()


def kill_at_random(node, senders, rng) -> None:
    """Kill the receiver and its doors, each time after some more instances were answered."""
    for victim in [victim for _ in range(ROUNDS) for victim in rng.sample(VICTIMS, len(VICTIMS))]:
        enough = sum(len(sender.answered) for sender in senders) + rng.randint(1, 60)
        wait_until(lambda enough=enough: sum(len(sender.answered) for sender in senders) >= enough, 60)
        receiver = node.pid_of("receive")
        if victim == "door":
            wait_until(lambda: doors_of(node.pid_of("receive")), 60)
            receiver = node.pid_of("receive")
        os.kill(rng.choice(doors_of(receiver)) if victim == "door" else receiver, signal.SIGKILL)


def test_twenty_kills_lose_nothing_that_was_answered_with_success(node):
    senders = [Sender(node.port, number) for number in (1, 2)]
    for sender in senders:
        sender.start()
    kill_at_random(node, senders, random.Random(20))
    enough = [len(sender.answered) + 20 for sender in senders]
    wait_until(lambda: all(len(s.answered) >= count for s, count in zip(senders, enough, strict=True)), 90)
    for sender in senders:
        sender.stop()
    answered = Counter(digest for sender in senders for digest in sender.digests)
    assert set(answered.values()) == {1}
    assert sum(sender.broken_off for sender in senders) >= ROUNDS

    kept = node.kept()
    assert answered - kept == Counter(), "answered with Success, and not there byte by byte"
    assert kept - answered == Counter(), "there twice, or damaged"

    node.stop()
    node.start()
    wait_until(lambda: any(line["event"] == "spool_reconciled" for line in node.log_lines[-20:]), 60)
    wait_until(lambda: sum(node.recorded().values()) >= len(answered), 60)
    assert node.recorded() == answered
    assert list(node.home.damaged.glob("*")) == []
    assert list(node.home.incoming.glob("*")) == []
