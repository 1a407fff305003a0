"""An inference child with too little memory: on each device the network of slices takes so many at once, and no more.

Imported by the child itself, a process of its own; what stands in for the network knows lungs by their density.
"""

import json
import os
import signal

import torch
from lungmask.resunet import UNet

from covnode.wiring import inference, worker

LIMITS = "COVNODE_TEST_SLICES_AT_ONCE"
GPU_BYTES = "COVNODE_TEST_GPU_BYTES"


def _ends(how):
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise MemoryError if how == "host" else torch.OutOfMemoryError("CUDA out of memory")


def _lungs_by_density(slices):
    """Answer as R231 would: scores of background, right and left lung."""
    lung = (slices[:, 0] > 0.02) & (slices[:, 0] < 0.35)
    right = torch.arange(slices.shape[-1], device=slices.device) < slices.shape[-1] // 2
    return torch.stack([~lung, lung & right, lung & ~right], dim=1).float()


def infer_with_scarce_memory(plan, claim, series):
    how, limits = json.loads(os.environ[LIMITS])

    def forward(_network, slices):
        if len(slices) > limits[plan.device]:
            _ends(how)
        return _lungs_by_density(slices)

    UNet.forward = forward
    inference.choose_device = lambda _name: torch.device("cpu")
    return worker._infer_in_child(plan, claim, series)


def infer_on_a_small_gpu(plan, claim, series):
    """The network itself, on a GPU of which this process may take so much and no more; its answer by density."""
    if plan.device != "cpu":
        device = torch.device(plan.device)
        share = float(os.environ[GPU_BYTES]) / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
    compute = UNet.forward

    def forward(network, slices):
        compute(network, slices)
        return _lungs_by_density(slices)

    UNet.forward = forward
    return worker._infer_in_child(plan, claim, series)
