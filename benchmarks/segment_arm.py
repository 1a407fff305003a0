"""One arm of segment.py: loads the weights, then clocks the segmentation of a volume; tells it as JSON on stdout.

python segment_arm.py lungmask|float32|bfloat16 WEIGHTS VOLUME OUT
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lungmask import LMInferer
from numpy.typing import NDArray

from covnode.disk import sha256_of
from covnode.home import Home
from covnode.infer.r231 import R231
from covnode.infer.slice_engines import Precision
from covnode.wiring.model_install import install_published

Segment = Callable[[NDArray[np.int16]], NDArray[np.uint8]]


def lungmask(weights: Path) -> Segment:
    """Return lungmask's own segmentation, as its users call it."""
    apply: Segment = LMInferer(modelpath=str(weights), force_cpu=True, tqdm_disable=True).apply
    return apply


def ours(weights: Path, precision: Precision) -> Segment:
    """Return covnode's."""
    with tempfile.TemporaryDirectory(prefix="covnode-bench-") as scratch:
        bundle = install_published(Home(Path(scratch)), "r231", str(weights), sha256_of(weights), lambda _size: None)
        return R231(bundle, torch.device("cpu"), 1, precision).labels


ARMS: dict[str, Callable[[Path], Segment]] = {
    "lungmask": lungmask,
    "float32": lambda weights: ours(weights, "float32"),
    "bfloat16": lambda weights: ours(weights, "bfloat16"),
}


def main() -> None:
    """Run an arm."""
    arm, weights, volume, out = sys.argv[1], *map(Path, sys.argv[2:5])
    segment, voxels_hu = ARMS[arm](weights), np.load(volume)
    started_s = time.monotonic()
    labels = segment(voxels_hu)
    seconds = time.monotonic() - started_s
    np.save(out, labels)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "peak_gib": peak_gib}))


if __name__ == "__main__":
    main()
