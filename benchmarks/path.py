"""How long a series takes from its last C-STORE to SEG and SR in the PACS, and how much memory the node needs.

Run by ``make bench-path``. Each run has a node and a stand-in PACS of its own; memory is the proportional set size
(PSS) of all the node's processes together, sampled twice a second, so that shared pages count once.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from covnode.cli.local_node import LocalNode, StandInPacs, run_covnode

GOAL_S = 180.0
GOAL_GIB = 6.0
_SAMPLE_S = 0.5


def process_tree(root_pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    tree = [root_pid]
    for pid in tree:
        tree += children.get(pid, [])
    return tree


def memory_gib(root_pid: int) -> float:
    """Return the proportional set size of a process tree."""
    total_kib = 0
    for pid in process_tree(root_pid):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total_kib += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total_kib / 2**20


def run_once(ct: Path, scratch: Path) -> tuple[float, float]:
    """Push the series to a fresh node; return (seconds, peak GiB)."""
    node, pacs = LocalNode(scratch / "home"), StandInPacs(scratch / "pacs")
    node.init("--pacs", pacs.address)
    peak_gib = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak_gib
        while not done.wait(_SAMPLE_S):
            if node.process is not None:
                peak_gib = max(peak_gib, memory_gib(node.process.pid))

    try:
        pacs.start()
        node.start()
        watcher = threading.Thread(target=watch)
        watcher.start()
        node.push(ct)
        pushed_s = time.monotonic()
        pacs.wait(2, timeout_s=1800)
        elapsed_s = time.monotonic() - pushed_s
    finally:
        done.set()
        node.stop()
        pacs.stop()
    watcher.join()
    return elapsed_s, peak_gib


def main() -> int:
    """Measure and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="covnode-bench-") as folder:
        ct = Path(folder) / "ct"
        run_covnode("phantom", str(ct), "--preset", "covid-severe", "--slices", str(arguments.slices), "--seed", "1")
        runs = []
        for number in range(1, arguments.runs + 1):
            scratch = Path(folder) / f"run-{number}"
            scratch.mkdir()
            runs.append(run_once(ct, scratch))
            print(f"run {number}: {runs[-1][0]:.1f} s, {runs[-1][1]:.2f} GiB", flush=True)
    times_s, peaks_gib = zip(*runs, strict=True)
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"series: {arguments.slices} slices of 512 x 512; spread {min(times_s):.1f} to {max(times_s):.1f} s")
    print(f"last_c_store_to_pacs: {statistics.median(times_s):.1f} s (goal < {GOAL_S:.0f})")
    print(f"peak_memory_of_the_node: {max(peaks_gib):.2f} GiB (goal < {GOAL_GIB:.0f})")
    return int(statistics.median(times_s) >= GOAL_S or max(peaks_gib) >= GOAL_GIB)


if __name__ == "__main__":
    sys.exit(main())
