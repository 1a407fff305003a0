"""What the receiver keeps, and whether it grows, when many push for long and a tenth of them break.

Run by ``make soak-receive``: 20,000 instances over 200 associations from eight senders at once; a tenth of the
associations break half way, send what is malformed, or are refused. Instances are small (128 x 128) so that it takes
minutes. Series never count as complete here: intake and analysis do not run.
"""

import argparse
import contextlib
import os
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from broken_senders import FAULTS, sound
from dicom_instances import SyntheticSeries, kept_digests
from dicom_sender import Association, Peer
from process_tree import process_tree
from storage_servers import Receiver, wait_for

from covnode.store.tables import InstanceRow
from covnode.wiring.node import open_node

SENDERS = 8
SIZE = 128
MEMORY_BOUND_MIB = 16.0
_SILENCE_S = 5.0
_SETTLE_S = 60.0
_WARM_UPS = 10


@dataclass(frozen=True)
class Burden:
    """What one process holds."""

    fds: int
    threads: int
    memory_mib: float

    def __str__(self) -> str:
        return f"{self.fds} fds, {self.threads} threads, {self.memory_mib:.1f} MiB"


def burdens(root_pid: int) -> dict[int, Burden]:
    """Look at each process of a tree: the receiver first, then its doors."""
    return {pid: burden(pid) for pid in process_tree(root_pid)}


def burden(pid: int) -> Burden:
    """Look at one process.

    Memory is what it alone holds (USS). Descriptors of the database are left out: its pool holds as many connections as
    threads once asked at the same moment. So is one for each place of an association, through which a door looks at the
    place since it first needed it; a place that is held has another one.
    """
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    rollup = (process / "smaps_rollup").read_text().splitlines()
    private_kib = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
    found = descriptors_of(pid)
    looked_at = sum(1 for what in found if "/locks/associations/" in what)
    fds = sum(count for what, count in found.items() if "covnode.db" not in what) - looked_at
    return Burden(fds, int(status["Threads"]), private_kib / 1024)


def descriptors_of(pid: int) -> Counter[str]:
    """Return what the descriptors of a process are, without the numbers of sockets."""
    found = Counter[str]()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[re.sub(r":\[\d+\]", "", str(link.readlink()))] += 1
    return found


def print_new_descriptors(pid: int, before: Counter[str]) -> None:
    """Say which descriptors a process did not have before."""
    if not Path(f"/proc/{pid}").exists():
        return
    for what, count in (descriptors_of(pid) - before).items():
        print(f"    {count} more: {what}")


def one_association(port: int, called: str, number: int, fault: str, count: int) -> tuple[int, list[str], list[str]]:
    """Run one sender; return its number, the digests of what was answered with Success, and what went wrong."""
    series = SyntheticSeries(number, SIZE)
    try:
        outcome = (FAULTS[fault] if fault else sound)(Peer(port, called, f"SENDER{number % SENDERS}"), series, count)
    except Exception as error:  # noqa: BLE001 (the edge of a sender: it says what it met)
        return number, [], [f"{fault or 'sound'}: {type(error).__name__}: {error}"]
    return number, [series.digest(one) for one in outcome.answered], [f"{fault}: {what}" for what in outcome.wrong]


@dataclass
class Soak:
    """The receiver under test, and what its senders were told."""

    receiver: Receiver
    answered: Counter[str]
    wrong: list[str]
    used: int = 0

    def push(self, faults: list[str], count: int) -> None:
        """Run one association for each of ``faults`` ("" for a sound one), eight at a time."""
        where = (self.receiver.port, self.receiver.ae_title)
        with ProcessPoolExecutor(SENDERS) as pool:
            runs = [
                pool.submit(one_association, *where, self.used + number, fault, count)
                for number, fault in enumerate(faults, start=1)
            ]
            for run in runs:
                _number, digests, wrong = run.result()
                self.answered.update(digests)
                self.wrong += wrong
        self.used += len(faults)

    def settled(self, before: dict[int, Burden] | None = None) -> dict[int, Burden]:
        """Wait until the doors are idle and all is recorded; return what each process holds."""
        wait_for(lambda: self.receiver.recorded() >= len(self.answered), "not all is recorded")
        deadline_s = time.monotonic() + _SETTLE_S
        now = burdens(self.receiver.pid)
        while before and time.monotonic() < deadline_s and not _flat(before, now):
            time.sleep(0.5)
            now = burdens(self.receiver.pid)
        if not before:
            time.sleep(2 * _SILENCE_S)
            now = burdens(self.receiver.pid)
        return now

    def recorded(self) -> Counter[str]:
        """Return the digests that the database holds."""
        node = open_node(self.receiver.node.home)
        with node.transaction() as session:
            found = Counter(session.scalars(sa.select(InstanceRow.content_digest)))
        node.engine.dispose()
        return found


def _flat(before: dict[int, Burden], now: dict[int, Burden]) -> bool:
    return before.keys() == now.keys() and all(
        now[pid].fds <= before[pid].fds and now[pid].threads <= before[pid].threads for pid in before
    )


def open_at_once(receiver: Receiver, count: int) -> None:
    """Hold more associations at a time than the senders will: a door keeps a descriptor for each place once used."""
    peers = [Peer(receiver.port, receiver.ae_title, f"HOLDER{number}") for number in range(count)]
    for _ in range(2):  # a door that took none of the last ones has not seen their places
        held = [Association(peer) for peer in peers]
        for association in held:
            association.release()


def plan(associations: int) -> list[str]:
    """Return the fault of each association: every tenth has one, each kind in turn."""
    kinds = list(FAULTS)
    return [kinds[number // 10 % len(kinds)] if number % 10 == 5 else "" for number in range(associations)]


def run(soak: Soak, associations: int, count: int) -> bool:
    """Warm up, push, compare; return whether all holds."""
    # Until caches and connections are there: a database's cache alone takes some thousand instances to fill.
    soak.push(["", *FAULTS, ""] * _WARM_UPS, count)
    open_at_once(soak.receiver, 3 * SENDERS)
    before = soak.settled()
    descriptors = {pid: descriptors_of(pid) for pid in before}
    warm = sum(soak.answered.values())
    started_s = time.monotonic()
    faults = plan(associations)
    on_the_way = []
    for quarter in range(4):
        soak.push(faults[quarter * associations // 4 : (quarter + 1) * associations // 4], count)
        on_the_way.append(burdens(soak.receiver.pid))
    elapsed_s = time.monotonic() - started_s
    after = soak.settled(before)
    answered = sum(soak.answered.values()) - warm
    names = ["receiver", *(f"child {number}" for number in range(1, len(before)))]
    for name, pid in zip(names, before, strict=True):
        quarters_mib = ", ".join(f"{at[pid].memory_mib:.0f}" for at in on_the_way if pid in at)
        print(
            f"{name}: after the warm-up {before[pid]}; at the end {after.get(pid, 'gone')}; quarters {quarters_mib} MiB"
        )
        print_new_descriptors(pid, descriptors.get(pid, Counter()))
    broken = sum(1 for fault in faults if fault)
    print(f"{associations} associations of {count} instances, {broken} of them broken, in {elapsed_s:.0f} s")
    kept, recorded = kept_digests(soak.receiver.spool), soak.recorded()
    lost = sum((soak.answered - kept).values())
    surplus = sum((kept - soak.answered).values())
    miscounted = sum((soak.answered - recorded).values()) + sum((recorded - soak.answered).values())
    growth_mib = max((after[pid].memory_mib - before[pid].memory_mib for pid in before if pid in after), default=0.0)
    for what in soak.wrong:
        print(f"unexpected: {what}")
    print(f"instances_answered: {answered} of {associations * count} ({answered / elapsed_s:.0f} a second)")
    print(f"unexpected_answers: {len(soak.wrong)} (goal 0)")
    print(f"answered_but_not_on_disk_byte_by_byte: {lost} instances (goal 0)")
    print(f"on_disk_but_not_answered: {surplus} instances (goal 0)")
    print(f"recorded_otherwise_than_answered: {miscounted} instances (goal 0)")
    print(f"fds_threads_and_processes_flat: {'yes' if _flat(before, after) else 'no'} (goal yes)")
    print(f"most_memory_gained_by_a_process: {growth_mib:.1f} MiB (goal <= {MEMORY_BOUND_MIB:g})")
    sound_enough = not (soak.wrong or lost or surplus or miscounted)
    return sound_enough and _flat(before, after) and growth_mib <= MEMORY_BOUND_MIB


def main() -> int:
    """Measure and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--associations", type=int, default=200)
    parser.add_argument("--instances", type=int, default=100, help="of one association")
    arguments = parser.parse_args()
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="covnode-soak-") as name:
        receiver = Receiver(Path(name) / "covnode")
        try:
            receiver.start()
            receiver.stop()
            receiver.configure({"receive.network_timeout_s": str(_SILENCE_S)})
            receiver.start_again()
            reached = run(Soak(receiver, Counter(), []), arguments.associations, arguments.instances)
        finally:
            receiver.stop()
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
