"""What computes a network of slices: chosen by device and precision, and silent to the outside."""

import subprocess
import sys

import pytest
import torch

from covnode.errors import ConfigurationError
from covnode.infer import slice_engines
from covnode.infer.slice_engines import OpenVinoEngine, TorchEngine, engine_for

NETWORK = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(2, 3, 1))


def test_a_cpu_has_an_engine_of_its_own_and_cuda_has_torch(monkeypatch):
    assert isinstance(engine_for(NETWORK, torch.device("cpu"), 1, "auto"), OpenVinoEngine)
    monkeypatch.setattr(NETWORK, "to", lambda _device: NETWORK)
    assert isinstance(engine_for(NETWORK, torch.device("cuda:0"), 20, "auto"), TorchEngine)


def test_a_precision_that_the_cpu_lacks_is_refused_and_auto_takes_what_it_has(monkeypatch):
    monkeypatch.setattr(slice_engines, "has_bfloat16", lambda: False)
    with pytest.raises(ConfigurationError, match="use auto or float32"):
        engine_for(NETWORK, torch.device("cpu"), 1, "bfloat16")
    engine_for(NETWORK, torch.device("cpu"), 1, "auto")


def test_nothing_of_it_reports_to_its_makers():
    program = """
import sys
def watch(event, _arguments):
    if event in {"socket.connect", "socket.getaddrinfo"}:
        raise SystemExit("it opens a connection")
sys.addaudithook(watch)
import torch
from covnode.infer.slice_engines import engine_for
engine_for(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(2, 3, 1)), torch.device("cpu"), 1, "float32")
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "openvino.tools.ovc.telemetry_stub"
