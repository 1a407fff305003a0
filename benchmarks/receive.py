"""How many instances a second the receiver takes durably, side by side with DCMTK's storescp and Orthanc.

Run by ``make bench-receive``. One sender is DCMTK's dcmsend, a whole process with its start and its reading; several
are lean senders (a process an association), which cost little of the processors that the server under test needs. Every
server as it ships: Orthanc and storescp take PDUs of 16 KiB, ours 1 MiB (``--pdu-bytes`` bounds them for all). The same
data sets with UIDs of their own in each round, TCP_NODELAY everywhere, all stores on one disk, dcmsend's files in
memory. Between runs the stores are set aside (not deleted: see storage_servers.set_aside) and the disk is synced, so
that nobody pays for what another left to be written. Series never count as complete here: no intake, no analysis.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dicom_instances import SyntheticSeries
from figures import machine, reaches, spread
from process_tree import process_tree
from senders import push, push_by_dcmsend
from storage_servers import Orthanc, Receiver, Server, Storescp

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Arm:
    """One way to push to one server."""

    server: str
    senders: int
    sender: str = "lean"

    @property
    def name(self) -> str:
        """As it is printed."""
        sender = "dcmsend" if self.sender == "dcmsend" else f"lean sender{'s' * (self.senders > 1)}"
        return f"{self.server}, {self.senders} {sender}"


@dataclass(frozen=True)
class Goal:
    """A ratio of two arms, round by round."""

    name: str
    ours: Arm
    other: Arm
    at_least: float


_SERVERS = ("storescp", "Orthanc", "covnode", "covnode-no-sync")
_ONE, _FOUR = (1, "dcmsend"), (4, "lean")
_LEAN_ONE, _EIGHT = Arm("covnode", 1), Arm("covnode", 8)


def arms() -> list[Arm]:
    """Return what is measured in each round."""
    return [*(Arm(server, *senders) for senders in (_ONE, _FOUR) for server in _SERVERS), _LEAN_ONE, _EIGHT]


def goals() -> list[Goal]:
    """Return the ratios that must be reached."""
    found = []
    for senders in (_ONE, _FOUR):
        storescp, orthanc, ours, unsynced = (Arm(server, *senders) for server in _SERVERS)
        found += [
            Goal(f"durable_to_orthanc_{senders[0]}", ours, orthanc, 2.5),
            Goal(f"durable_to_storescp_{senders[0]}", ours, storescp, 0.7),
            Goal(f"no_sync_to_storescp_{senders[0]}", unsynced, storescp, 1.0),
        ]
    return [*found, Goal("eight_senders_to_one", _EIGHT, _LEAN_ONE, 1.0)]


def cpu_s(root_pid: int) -> float:
    """Return the processor time of a process tree, of children that have ended too."""
    ticks = 0
    for pid in process_tree(root_pid):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS_PER_S


@dataclass
class Bench:
    """The servers, and what was measured of them."""

    servers: dict[str, Server]
    instances: int
    pdu_bytes: int
    scratch: Path
    series_used: int = 0

    def run(self, arm: Arm) -> tuple[float, float]:
        """Push once; return instances a second and the server's processor time in ms an instance.

        Raises
        ------
        RuntimeError
            An instance was answered with Success and is not there.
        """
        name = "storescp-fork" if arm.server == "storescp" and arm.senders > 1 else arm.server
        server = self.servers[name]
        share = -(-self.instances // arm.senders)
        first = self.series_used + 1
        self.series_used += arm.senders
        series = [SyntheticSeries(number) for number in range(first, first + arm.senders)]
        before_s = cpu_s(server.pid)
        if arm.sender == "dcmsend":
            elapsed_s = push_by_dcmsend(server, series, share, self.scratch)
        else:
            elapsed_s = push(server, series, share, self.pdu_bytes)
        used_s = cpu_s(server.pid) - before_s
        missing = server.missing([one.digest(number) for one in series for number in range(share)])
        if missing:
            raise RuntimeError(f"{arm.name}: {missing} instances are missing, changed or too many")
        server.clear()
        os.sync()
        count = share * arm.senders
        return count / elapsed_s, 1000 * used_s / count


def measure(bench: Bench, rounds: int) -> dict[Arm, list[tuple[float, float]]]:
    """Run all arms in each round, in an order that rotates; the first round warms up and does not count."""
    every = arms()
    measured: dict[Arm, list[tuple[float, float]]] = {arm: [] for arm in every}
    for number in range(rounds + 1):
        turn = (number * 3) % len(every)
        for arm in every[turn:] + every[:turn]:
            figures = bench.run(arm)
            if number:
                measured[arm].append(figures)
        print(f"round {number} of {rounds}{'' if number else ' (warm-up)'}", flush=True)
    return measured


def report(measured: dict[Arm, list[tuple[float, float]]]) -> bool:
    """Print the figures; return whether all goals are reached."""
    for arm, figures in measured.items():
        rates, cpu_ms = [rate for rate, _ in figures], [used for _, used in figures]
        print(f"{arm.name}: {spread(rates, 0)} instances/s, {spread(cpu_ms, 2)} ms of the server's processors each")
    reached = True
    lines = []
    for goal in goals():
        ratios = [ours[0] / other[0] for ours, other in zip(measured[goal.ours], measured[goal.other], strict=True)]
        is_reached, line = reaches(goal.name, ratios, goal.at_least)
        reached &= is_reached
        lines.append(line)
    print("\n".join(lines))
    return reached


def dcmtk_version() -> str:
    """Ask storescp."""
    command = [shutil.which("storescp") or "storescp", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2]  # noqa: S603 (DCMTK's)


def main() -> int:
    """Measure and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the stores lie; else the system's temporary folder")
    parser.add_argument(
        "--pdu-bytes", type=int, default=0, help="the lean senders' longest PDU; 0: what each server asks for"
    )
    arguments = parser.parse_args()
    print(machine(f"DCMTK {dcmtk_version()}"), flush=True)
    in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 (a folder of our own in it)
    with (
        tempfile.TemporaryDirectory(prefix="covnode-bench-", dir=arguments.folder) as name,
        tempfile.TemporaryDirectory(prefix="covnode-bench-", dir=in_memory) as memory_name,
    ):
        folder, memory = Path(name), Path(memory_name)
        servers: dict[str, Server] = {
            "storescp": Storescp(folder / "storescp"),
            "storescp-fork": Storescp(folder / "storescp-fork", "--fork"),
            "Orthanc": Orthanc(folder / "orthanc"),
            "covnode": Receiver(folder / "covnode"),
            "covnode-no-sync": Receiver(folder / "covnode-no-sync", syncs=False),
        }
        started_s = time.monotonic()
        try:
            for server in servers.values():
                server.start()
            measured = measure(Bench(servers, arguments.instances, arguments.pdu_bytes, memory), arguments.rounds)
        finally:
            for server in servers.values():
                server.stop()
    print(
        f"{arguments.instances} CT instances of 512 x 512, {arguments.rounds} rounds in "
        f"{time.monotonic() - started_s:.0f} s; covnode's intake and analysis do not run; median (least to most)"
    )
    return int(not report(measured))


if __name__ == "__main__":
    sys.exit(main())
