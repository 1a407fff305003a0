"""How many instances a second the receiver takes durably, side by side with DCMTK's storescp and Orthanc.

Run by ``make bench-receive``. One lean sender for all (a process an association), the same data sets with UIDs of their
own in each round, the same PDUs (larger than storescp and Orthanc ask for by default, which favours them), TCP_NODELAY
everywhere, all stores on one disk. The time counts from the first C-STORE
to the last response, associations being open. Between runs the stores are emptied and the disk is synced, so that
nobody pays for what another left to be written. Series never count as complete here: intake and analysis do not run.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dicom_instances import SyntheticSeries
from path import process_tree
from senders import push, push_by_dcmsend
from storage_servers import PDU_BYTES, Orthanc, Receiver, Server, Storescp

_SMALL_PDU_BYTES = 16384  # what storescp and Orthanc ask for unless they are told otherwise
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Arm:
    """One way to push to one server."""

    server: str
    senders: int
    sender: str = "lean"
    pdu_bytes: int = PDU_BYTES

    @property
    def name(self) -> str:
        """As it is printed."""
        small = f", PDUs of {self.pdu_bytes} bytes" if self.pdu_bytes != PDU_BYTES else ""
        return f"{self.server}, {self.senders} {self.sender} sender{'s' * (self.senders > 1)}{small}"


@dataclass(frozen=True)
class Goal:
    """A ratio of two arms, round by round; what has no bound is told, not judged."""

    name: str
    ours: Arm
    other: Arm
    at_least: float = 0.0


def arms() -> list[Arm]:
    """Return what is measured in each round."""
    servers = ("storescp", "Orthanc", "covnode", "covnode-no-sync")
    found = [Arm(server, senders) for senders in (1, 4) for server in servers]
    for server in servers[:3]:
        found += [Arm(server, 1, "dcmsend"), Arm(server, 1, pdu_bytes=_SMALL_PDU_BYTES)]
    return [*found, Arm("covnode", 8)]


def goals() -> list[Goal]:
    """Return the ratios, those that must be reached first."""
    found = []
    for senders in (1, 4):
        ours, unsynced = Arm("covnode", senders), Arm("covnode-no-sync", senders)
        found += [
            Goal(f"durable_to_orthanc_{senders}", ours, Arm("Orthanc", senders), 2.5),
            Goal(f"durable_to_storescp_{senders}", ours, Arm("storescp", senders), 0.7),
            Goal(f"no_sync_to_storescp_{senders}", unsynced, Arm("storescp", senders), 1.0),
        ]
    found.append(Goal("eight_senders_to_one", Arm("covnode", 8), Arm("covnode", 1), 1.0))
    for other in ("Orthanc", "storescp"):
        ours, theirs = Arm("covnode", 1, "dcmsend"), Arm(other, 1, "dcmsend")
        found.append(Goal(f"durable_to_{other.lower()}_dcmsend", ours, theirs))
        small = {"senders": 1, "pdu_bytes": _SMALL_PDU_BYTES}
        found.append(Goal(f"durable_to_{other.lower()}_small_pdus", Arm("covnode", **small), Arm(other, **small)))
    return found


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
            elapsed_s = push(server, series, share, arm.pdu_bytes)
        used_s = cpu_s(server.pid) - before_s
        missing = server.missing([one.sha256(number) for one in series for number in range(share)])
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
        turn = (number * 5) % len(every)
        for arm in every[turn:] + every[:turn]:
            figures = bench.run(arm)
            if number:
                measured[arm].append(figures)
        print(f"round {number} of {rounds}{'' if number else ' (warm-up)'}", flush=True)
    return measured


def spread(values: list[float], digits: int) -> str:
    """Return median and spread as text."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def report(measured: dict[Arm, list[tuple[float, float]]]) -> bool:
    """Print the figures; return whether all goals are reached."""
    for arm, figures in measured.items():
        rates, cpu_ms = [rate for rate, _ in figures], [used for _, used in figures]
        print(f"{arm.name}: {spread(rates, 0)} instances/s, {spread(cpu_ms, 2)} ms of the server's processors each")
    reached = True
    lines = []
    for goal in goals():
        ratios = [ours[0] / other[0] for ours, other in zip(measured[goal.ours], measured[goal.other], strict=True)]
        ratio = statistics.median(ratios)
        reached &= ratio >= goal.at_least
        if goal.at_least:
            lines.append(f"{goal.name}: {ratio:.2f} x (goal >= {goal.at_least:g})")
        print(f"ratio {goal.name}, round by round: {spread(ratios, 2)}")
    print("\n".join(lines))
    return reached


def machine() -> str:
    """Describe the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    command = [shutil.which("storescp") or "storescp", "--version"]
    dcmtk = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2]  # noqa: S603 (DCMTK's)
    return (
        f"machine: {os.cpu_count()} cores, {model}, {platform.machine()}, Python {platform.python_version()}, "
        f"DCMTK {dcmtk}, load {os.getloadavg()[0]:.1f} before the first run"
    )


def main() -> int:
    """Measure and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the stores lie; else the system's temporary folder")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="covnode-bench-", dir=arguments.folder) as name:
        folder = Path(name)
        servers: dict[str, Server] = {
            "storescp": Storescp(folder / "storescp"),
            "storescp-fork": Storescp(folder / "storescp-fork", "--fork"),
            "Orthanc": Orthanc(folder / "orthanc"),
            "covnode": Receiver(folder / "covnode"),
            "covnode-no-sync": Receiver(folder / "covnode-no-sync", "eatmydata"),
        }
        started_s = time.monotonic()
        try:
            for server in servers.values():
                server.start()
            measured = measure(Bench(servers, arguments.instances, folder), arguments.rounds)
        finally:
            for server in servers.values():
                server.stop()
    print(
        f"{arguments.instances} CT instances of 512 x 512, PDUs of {PDU_BYTES} bytes, {arguments.rounds} rounds in "
        f"{time.monotonic() - started_s:.0f} s; covnode's intake and analysis do not run; median (least to most)"
    )
    return int(not report(measured))


if __name__ == "__main__":
    sys.exit(main())
