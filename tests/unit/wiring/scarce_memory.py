"""An inference child with too little memory: on each device the network of slices takes so many at once, and no more.

Imported by the child itself, a process of its own; what stands in for the network knows lungs by their density.
"""

import json
import os
import signal

import numpy as np
import torch

from covnode.infer import r231, slice_engines
from covnode.wiring import inference, worker

LIMITS = "COVNODE_TEST_SLICES_AT_ONCE"
GPU_BYTES = "COVNODE_TEST_GPU_BYTES"


def _ends(how):
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise MemoryError if how == "host" else torch.OutOfMemoryError("CUDA out of memory")


def _lungs_by_density(slices):
    """Answer as R231 would."""
    lung = (slices > 0.02) & (slices < 0.35)
    right = np.arange(slices.shape[-1]) < slices.shape[-1] // 2
    return np.where(lung, np.where(right, 1, 2), 0).astype(np.uint8)


class _Scarce:
    """Computes so many slices at once and no more."""

    def __init__(self, slices_at_once, limit, how):
        self._at_once, self._limit, self._how = slices_at_once, limit, how

    def classes(self, slices):
        if min(self._at_once, len(slices)) > self._limit:
            _ends(self._how)
        return _lungs_by_density(slices)


class _AfterTheNetwork:
    """Computes the network itself, then answers by density."""

    def __init__(self, engine):
        self._engine = engine

    def classes(self, slices):
        self._engine.classes(slices)
        return _lungs_by_density(slices)


def infer_with_scarce_memory(plan, claim, series):
    how, limits = json.loads(os.environ[LIMITS])
    r231.engine_for = lambda _network, _device, at_once, _precision: _Scarce(at_once, limits[plan.device], how)
    inference.choose_device = lambda _name: torch.device("cpu")
    return worker._infer_in_child(plan, claim, series)


def infer_on_a_small_gpu(plan, claim, series):
    """The network itself, on a GPU of which this process may take so much and no more; its answer by density."""
    if plan.device != "cpu":
        device = torch.device(plan.device)
        share = float(os.environ[GPU_BYTES]) / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
    engine_for = slice_engines.engine_for
    r231.engine_for = lambda *how: _AfterTheNetwork(engine_for(*how))
    return worker._infer_in_child(plan, claim, series)
