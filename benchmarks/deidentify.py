"""How many instances a second are de-identified, side by side with dicom-anonymizer and dicognito.

Run by ``make bench-deidentify``. The same files for all in one run, on one disk and in the page cache; each arm is a
fresh process, which clocks its work alone (see deidentify_arm). covnode checks every copy and syncs it; the others do
neither. Outputs are verified and set aside (not deleted: see storage_servers.set_aside), and the disk is synced
between runs, so that nobody pays for what another left to be written.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from blake3 import blake3
from deidentify_arm import ARMS
from figures import machine, reaches, spread
from identified_series import SENTINELS, write_identified_series

_ARM = Path(__file__).with_name("deidentify_arm.py")
_OURS = "covnode"
_GOALS = {"dicom-anonymizer": 3.0, "dicognito": 3.0}
_SIZE = 512
_PIXEL_BYTES = 2 * _SIZE**2


def pixels(folder: Path) -> Counter[str]:
    """Count the files of a folder by the digest of their pixels, which are the last thing in each."""
    return Counter(blake3(path.read_bytes()[-_PIXEL_BYTES:]).hexdigest() for path in folder.iterdir())


def leaks(folder: Path) -> set[str]:
    """Return the sentinels that stand before the pixels of any file of a folder."""
    headers = [path.read_bytes()[:-_PIXEL_BYTES].lower() for path in folder.iterdir()]
    return {sentinel for sentinel in SENTINELS if any(sentinel.encode() in header for header in headers)}


def run(arm: str, originals: Path, out: Path, expected: Counter[str]) -> float:
    """De-identify once in a process of its own; return instances a second.

    Raises
    ------
    RuntimeError
        Files are missing, their pixels changed, or covnode let a sentinel through.
    """
    os.sync()
    command = [sys.executable, str(_ARM), arm, str(originals), str(out)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)  # noqa: S603 (ours)
    if pixels(out) != expected:
        raise RuntimeError(f"{arm}: files are missing, or their pixels are not the originals'")
    if arm == _OURS and leaks(out):
        raise RuntimeError(f"{arm}: {sorted(leaks(out))} stands in the copies")
    return expected.total() / float(done.stdout)


def measure(folder: Path, instances: int, rounds: int) -> dict[str, list[float]]:
    """Run all arms in each round, in an order that rotates; the first round warms up and does not count."""
    originals = folder / "originals"
    write_identified_series(originals, instances, _SIZE)
    if leaks(originals) != set(SENTINELS):
        raise RuntimeError("the originals lack sentinels: nothing could be found in a copy")
    expected = pixels(originals)
    every = list(ARMS)
    measured: dict[str, list[float]] = {arm: [] for arm in every}
    for number in range(rounds + 1):
        turn = number % len(every)
        for arm in every[turn:] + every[:turn]:
            rate = run(arm, originals, folder / f"{arm}-{number}", expected)
            if number:
                measured[arm].append(rate)
        print(f"round {number} of {rounds}{'' if number else ' (warm-up)'}", flush=True)
    return measured


def report(measured: dict[str, list[float]]) -> bool:
    """Print the figures; return whether all goals are reached."""
    for arm, rates in measured.items():
        print(f"{arm} {version(arm)}: {spread(rates, 1)} instances/s")
    reached = True
    lines = []
    for other, goal in _GOALS.items():
        name = f"deidentify_to_{other.replace('-', '_')}"
        ratios = [ours / theirs for ours, theirs in zip(measured[_OURS], measured[other], strict=True)]
        is_reached, line = reaches(name, ratios, goal)
        reached &= is_reached
        lines.append(line)
    print("\n".join(lines))
    return reached


def main() -> int:
    """Measure and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=300)
    # The rounds spread by a factor of two: fewer make a median that moves by a tenth.
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the files lie; else the system's temporary folder")
    arguments = parser.parse_args()
    print(machine(f"pydicom {version('pydicom')}"), flush=True)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="covnode-bench-", dir=arguments.folder) as name:
        measured = measure(Path(name), arguments.instances, arguments.rounds)
    print(
        f"{arguments.instances} CT instances of {_SIZE} x {_SIZE}, {arguments.rounds} rounds in "
        f"{time.monotonic() - started_s:.0f} s; one process an arm; median (least to most)"
    )
    return int(not report(measured))


if __name__ == "__main__":
    sys.exit(main())
