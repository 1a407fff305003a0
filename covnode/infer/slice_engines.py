"""What computes a network of slices: torch on a CUDA device, OpenVINO on a CPU, three times as fast there.

Called by r231. Both take slices as slice_crops makes them and answer the most likely class of each pixel.
"""

import sys
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covnode.errors import ConfigurationError
from covnode.infer.slice_crops import SIDE

# OpenVINO reports over the internet that it was imported, unless this package of its makers is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402
from openvino import properties  # noqa: E402

Precision = Literal["auto", "float32", "bfloat16"]
"""Of the arithmetic on a CPU; auto: bfloat16 where the CPU has it."""


class SliceEngine(Protocol):
    """Computes classes of pixels."""

    def classes(self, slices: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the class of each pixel, uint8 (k, 256, 256), of slices float32 (k, 256, 256)."""
        ...


def engine_for(network: nn.Sequential, device: torch.device, slices_at_once: int, precision: Precision) -> SliceEngine:
    """Return what is fastest on the device.

    Parameters
    ----------
    network
        float32 (n, 1, 256, 256) -> scores (n, classes, 256, 256), in two parts: the first one is always computed in
        float32.
    slices_at_once
        What a CUDA device gets in one go; a CPU is no faster for more than one.

    Raises
    ------
    ConfigurationError
        The CPU does not have the precision that was asked for.
    """
    if device.type == "cpu":
        return OpenVinoEngine(network, precision)
    return TorchEngine(network, device, slices_at_once)


class TorchEngine:
    """float32 on a CUDA device."""

    def __init__(self, network: nn.Module, device: torch.device, slices_at_once: int) -> None:
        self._network = network.to(device).eval()
        self._device = device
        self._slices_at_once = slices_at_once

    def classes(self, slices: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Compute as SliceEngine; torch.OutOfMemoryError where the device has too little memory."""
        with torch.inference_mode():
            batches = torch.split(torch.from_numpy(slices)[:, None], self._slices_at_once)
            found = [self._network(batch.to(self._device)).argmax(dim=1).to(torch.uint8).cpu() for batch in batches]
        return np.asarray(torch.cat(found).numpy())


class OpenVinoEngine:
    """A slice after the other on the threads that torch may use."""

    def __init__(self, network: nn.Sequential, precision: Precision) -> None:
        element_type = _element_type(precision)
        first, rest = network.eval()
        example = torch.zeros(1, 1, SIDE, SIDE)
        self._first = _compiled(first, example, openvino.Type.f32)
        with torch.inference_mode():
            self._rest = _compiled(rest, first(example), element_type)

    def classes(self, slices: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Compute as SliceEngine."""
        first, rest = self._first.create_infer_request(), self._rest.create_infer_request()
        rest.set_input_tensor(first.get_output_tensor())
        found = np.empty(slices.shape, dtype=np.uint8)
        for one, target in zip(slices, found, strict=True):
            first.infer([one[np.newaxis, np.newaxis]], share_inputs=True, share_outputs=True)
            rest.infer(share_outputs=True)
            target[...] = rest.get_output_tensor().data[0].argmax(axis=0)
        return found


def _compiled(network: nn.Module, example: torch.Tensor, element_type: openvino.Type) -> openvino.CompiledModel:
    model = openvino.convert_model(network, example_input=example, input=list(example.shape))
    settings = {
        properties.inference_num_threads(): torch.get_num_threads(),
        properties.hint.performance_mode(): properties.hint.PerformanceMode.LATENCY,
        properties.hint.inference_precision(): element_type,
    }
    return openvino.compile_model(model, "CPU", settings)


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 by itself."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _element_type(precision: Precision) -> openvino.Type:
    if precision == "float32":
        return openvino.Type.f32
    if has_bfloat16():
        return openvino.Type.bf16
    if precision == "bfloat16":
        raise ConfigurationError("worker.precision is bfloat16, which this CPU does not have: use auto or float32.")
    return openvino.Type.f32
