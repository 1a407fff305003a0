"""How long R231 takes for the lungs of 300 slices, side by side with lungmask's own LMInferer, and whether they agree.

Run by ``make bench-segment``. One set of weights for all, trained here on phantoms for some minutes (see
covnode.learn.train_lungs): the time does not depend on what the weights are, the agreement needs lungs that are found.
Each arm is a fresh process, which clocks its work alone; the arms alternate. Dice is told per lung, on phantoms and on
real series where there are any.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from figures import machine, reaches, spread
from numpy.typing import NDArray
from segment_arm import ARMS

from covnode.learn.phantom import PhantomPreset, make_phantom
from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import Lung
from covnode.volume.loading import load_volume

_ARM = Path(__file__).with_name("segment_arm.py")
_TRUTH_DICE = 0.9
_SAME_DICE = 0.999
_GOALS = {"bfloat16": 4.5, "float32": 2.5}
_MOST_OTHER_VOXELS = 100
_TIMEOUT_S = 3600


def dice(one: NDArray[np.uint8], other: NDArray[np.uint8], lung: Lung) -> float:
    """Return 2 |A and B| / (|A| + |B|) of a lung."""
    a, b = one == lung, other == lung
    return float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))


def run(arm: str, weights: Path, volume: Path, out: Path) -> tuple[float, float]:
    """Segment a volume in a process of its own; return the seconds and the peak GiB."""
    command = [sys.executable, str(_ARM), arm, str(weights), str(volume), str(out)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT_S)  # noqa: S603 (ours)
    told = json.loads(done.stdout.splitlines()[-1])
    return float(told["seconds"]), float(told["peak_gib"])


def agreement(name: str, found: dict[str, Path]) -> bool:
    """Print how each of our arms agrees with lungmask; return whether it does as the goals say."""
    theirs = np.load(found["lungmask"])
    holds = True
    for arm in _GOALS:
        ours = np.load(found[arm])
        each = {lung.name.lower(): dice(ours, theirs, lung) for lung in Lung}
        other = int(np.count_nonzero(ours != theirs))
        print(f"{name}, {arm}: {other} voxels differ; Dice " + ", ".join(f"{k} {v:.5f}" for k, v in each.items()))
        is_empty = not all(np.any(theirs == lung) for lung in Lung)
        holds &= not is_empty and min(each.values()) >= _SAME_DICE
        holds &= arm != "float32" or other <= _MOST_OTHER_VOXELS
    return holds


def write_phantom_volume(path: Path, truth: Path, slices: int, size: int) -> None:
    """Write the voxels of a phantom that no training used, and its true lungs."""
    phantom = make_phantom(PhantomPreset.COVID_MILD, slices=slices, seed=7, size=size)
    np.save(path, phantom.voxels_hu)
    np.save(truth, phantom.lung_labels)


def write_real_volumes(archives: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write the voxels of the series in each tar archive of a folder; yield its name and the file."""
    for archive in sorted(archives.glob("*.tar.*")):
        name = archive.name.partition(".")[0]
        with tarfile.open(archive) as tar:
            tar.extractall(folder / name, filter="data")
        paths = tuple(sorted(path for path in (folder / name).rglob("*") if path.is_file()))
        volume = load_volume(DeidentifiedSeries(name, 1, paths, "0" * 64), min_slices=3)
        np.save(folder / f"{name}.npy", volume.voxels_hu)
        yield name, folder / f"{name}.npy"


def main() -> int:
    """Measure and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a state dictionary of R231's network")
    parser.add_argument("--real", type=Path, required=True, help="folder of tar archives of real series")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(machine(f"{os.cpu_count()} threads each"), flush=True)
    with tempfile.TemporaryDirectory(prefix="covnode-bench-") as scratch:
        folder = Path(scratch)
        volume, truth = folder / "phantom.npy", folder / "truth.npy"
        write_phantom_volume(volume, truth, given.slices, 512)
        times_s: dict[str, list[float]] = {arm: [] for arm in ARMS}
        peaks_gib = dict.fromkeys(ARMS, 0.0)
        found = {arm: folder / f"{arm}.npy" for arm in ARMS}
        for number in range(1, given.rounds + 1):
            for arm in ARMS:
                taken_s, peak_gib = run(arm, given.weights, volume, found[arm])
                times_s[arm].append(taken_s)
                peaks_gib[arm] = max(peaks_gib[arm], peak_gib)
                print(f"round {number} of {given.rounds}, {arm}: {taken_s:.1f} s", flush=True)
        for arm in ARMS:
            print(f"{arm}: {spread(times_s[arm], 1)} s for {given.slices} slices, peak {peaks_gib[arm]:.2f} GiB")
        theirs, right = np.load(found["lungmask"]), np.load(truth)
        truth_dice = min(dice(theirs, right, lung) for lung in Lung)
        agrees = agreement("phantom", found)
        for name, real in write_real_volumes(given.real, folder):
            for arm in ARMS:
                run(arm, given.weights, real, found[arm])
            agrees &= agreement(name, found)
        ratios = {
            arm: [theirs_s / ours_s for theirs_s, ours_s in zip(times_s["lungmask"], times_s[arm], strict=True)]
            for arm in _GOALS
        }
        results = [reaches(f"{arm}_to_lungmask", ratios[arm], goal) for arm, goal in _GOALS.items()]
    for _, line in results:
        print(line)
    print(f"lungmask_to_truth_of_the_phantom: {truth_dice:.3f} Dice (goal >= {_TRUTH_DICE:g})")
    print(
        f"same_mask_as_lungmask: {'yes' if agrees else 'no'} (goal yes: Dice >= {_SAME_DICE:g} per lung, float32 "
        f"within {_MOST_OTHER_VOXELS} voxels)"
    )
    return int(not (all(reached for reached, _ in results) and agrees and truth_dice >= _TRUTH_DICE))


if __name__ == "__main__":
    sys.exit(main())
