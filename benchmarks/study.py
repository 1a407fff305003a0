"""How long a study takes from its last C-STORE to SEG and SR in the PACS, stage by stage, and how much memory it needs.

Run by ``make bench-study``. A series of 300 slices is pushed at five slices a second, as a scanner does, and at full
speed, to a node with the demonstration models alone and to one with weights of R231's size; lungmask's own LMInferer
segments the same series in the same run. Each run has a node and a stand-in PACS of its own; memory is the proportional
set size (PSS) of all the node's processes together, sampled twice a second, so that shared pages count once.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from figures import machine, spread
from process_tree import memory_gib
from segment import run as run_segmentation

from covnode.cli.local_node import LOOPBACK, NODE_AE, LocalNode, StandInPacs, run_covnode
from covnode.deliver.scu import send
from covnode.dicom.association import Destination
from covnode.disk import sha256_of
from covnode.records.series import DeidentifiedSeries
from covnode.volume.loading import load_volume

DEMONSTRATION_GOAL_S = 25.0
LUNGMASK_SHARE_GOAL = 0.5
GOAL_GIB = 4.0
SLICES_A_SECOND = {"5 a second": 5.0, "full speed": float("inf")}
_SAMPLE_S = 0.5
_EVENTS = {
    "complete": "series_complete",
    "chosen and de-identified": "series_queued",
    "taken by the worker": "analysis_started",
    "analysed": "analysis_finished",
    "delivered": "delivered",
}
"""What ends each part of the wait, by the event in the log."""


@dataclass(frozen=True)
class Study:
    """One run: seconds from the last answered C-STORE to the last object in the PACS, its parts, and memory."""

    taken_s: float
    parts_s: dict[str, float]
    peak_gib: float


def push(node: LocalNode, files: list[Path], slices_a_second: float) -> float:
    """Send the series at a pace; return when the last slice was answered for, in seconds since the epoch."""
    begin_s, sent = time.monotonic(), 0

    def keep_pace(_path: Path, _status: int) -> None:
        nonlocal sent
        sent += 1
        if sent < len(files):
            time.sleep(max(0.0, begin_s + sent / slices_a_second - time.monotonic()))

    send("SCANNER", Destination("node", NODE_AE, LOOPBACK, node.port, 60.0), files, keep_pace)
    return time.time()


def parts_of(log: Path, pushed_s: float) -> dict[str, float]:
    """Part the time after the push by the node's log; the analysis by its own clock."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    told = {line["event"]: line for line in lines if line.get("event") in _EVENTS.values()}
    parts_s, before_s = {}, pushed_s
    for name, event in _EVENTS.items():
        at_s = datetime.fromisoformat(told[event]["timestamp"]).timestamp()
        parts_s[name] = at_s - before_s
        before_s = at_s
    stages = {f"- {stage}": taken_s for stage, taken_s in told["analysis_finished"]["timings_s"].items()}
    return parts_s | stages


def run_once(files: list[Path], scratch: Path, weights: Path | None, slices_a_second: float) -> Study:
    """Push the series to a fresh node, with R231 where there are weights."""
    node, pacs = LocalNode(scratch / "home"), StandInPacs(scratch / "pacs")
    node.init("--pacs", pacs.address)
    home = ("--home", str(node.root))
    if weights is not None:
        run_covnode("models", "install", "r231", "--from", str(weights), "--sha256", sha256_of(weights), *home)
        run_covnode("config", "set", "worker.precision", "auto", *home)
    peak_gib = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak_gib
        while not done.wait(_SAMPLE_S):
            if node.process is not None:
                peak_gib = max(peak_gib, memory_gib(node.process.pid))

    watcher = threading.Thread(target=watch)
    try:
        pacs.start()
        node.start()
        watcher.start()
        pushed_s = push(node, files, slices_a_second)
        pacs.wait(2, timeout_s=1800)
        taken_s = time.time() - pushed_s
    finally:
        done.set()
        node.stop()
        pacs.stop()
    watcher.join()
    return Study(taken_s, parts_of(node.log, pushed_s), peak_gib)


def report(name: str, studies: list[Study]) -> float:
    """Print the runs of one kind; return the median of their seconds."""
    print(f"{name}: {spread([study.taken_s for study in studies], 1)} s after the last slice, of which")
    for part in studies[0].parts_s:
        print(f"    {part}: {spread([study.parts_s[part] for study in studies], 1)} s")
    return statistics.median(study.taken_s for study in studies)


def main() -> int:
    """Measure and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a state dictionary of R231's network")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    print(machine("PSS of all processes of a node"), flush=True)
    with tempfile.TemporaryDirectory(prefix="covnode-bench-") as scratch:
        folder = Path(scratch)
        ct, volume = folder / "ct", folder / "volume.npy"
        run_covnode("phantom", str(ct), "--preset", "covid-severe", "--slices", str(given.slices), "--seed", "1")
        files = sorted(ct.rglob("*.dcm"))
        np.save(volume, load_volume(DeidentifiedSeries("phantom", 1, tuple(files), "0" * 64)).voxels_hu)
        kinds = [(models, pace) for models in ("demonstration models", "R231") for pace in SLICES_A_SECOND]
        studies: dict[tuple[str, str], list[Study]] = {kind: [] for kind in kinds}
        lungmask_s = []
        for number in range(1, given.runs + 1):
            for models, pace in kinds:
                place = folder / f"{number}-{len(studies[models, pace])}-{models[0]}{pace[0]}"
                place.mkdir()
                weights = given.weights if models == "R231" else None
                studies[models, pace].append(run_once(files, place, weights, SLICES_A_SECOND[pace]))
                latest = studies[models, pace][-1]
                print(
                    f"round {number}, {models}, {pace}: {latest.taken_s:.1f} s, {latest.peak_gib:.2f} GiB", flush=True
                )
            lungmask_s.append(run_segmentation("lungmask", given.weights, volume, folder / "lungmask.npy")[0])
            print(f"round {number}, LMInferer alone: {lungmask_s[-1]:.1f} s", flush=True)
    medians_s = {kind: report(", ".join(kind), found) for kind, found in studies.items()}
    slowest_share = max(medians_s["R231", pace] for pace in SLICES_A_SECOND) / statistics.median(lungmask_s)
    peak_gib = max(study.peak_gib for found in studies.values() for study in found)
    paced_s = medians_s["demonstration models", "5 a second"]
    print(f"LMInferer alone: {spread(lungmask_s, 1)} s")
    print(f"demonstration_models_at_full_speed: {medians_s['demonstration models', 'full speed']:.1f} s (no goal)")
    print(f"demonstration_models_at_5_a_second: {paced_s:.1f} s (goal < {DEMONSTRATION_GOAL_S:g})")
    print(f"r231_to_lungmask_alone: {slowest_share:.2f} x (goal <= {LUNGMASK_SHARE_GOAL:g})")
    print(f"peak_memory_of_the_node: {peak_gib:.2f} GiB (goal < {GOAL_GIB:g})")
    reached = paced_s < DEMONSTRATION_GOAL_S and slowest_share <= LUNGMASK_SHARE_GOAL and peak_gib < GOAL_GIB
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
