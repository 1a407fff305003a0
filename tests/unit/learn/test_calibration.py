"""The temperature: found where it is known, within its bounds, and put into the weights."""

import numpy as np
import pytest
import torch
from torch import nn

from covnode.errors import ConfigurationError
from covnode.learn.calibration import cool, fitted_temperature
from covnode.networks.registry import build_network


def drawn(temperature, count=4000):
    """Logits that are too sure by the temperature."""
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, count)
    truth = (rng.random(count) < 1 / (1 + np.exp(-honest))).astype(np.float32)
    return (honest * temperature).astype(np.float32), truth


def test_a_temperature_that_is_known_is_found():
    assert fitted_temperature(*drawn(3.0)) == pytest.approx(3.0, rel=0.1)


def test_certainty_is_never_raised_and_never_lowered_without_end():
    assert fitted_temperature(*drawn(0.4)) == 1.0
    logits, truth = drawn(1.0)
    assert fitted_temperature(-20 * logits, truth) == pytest.approx(10.0)


@pytest.mark.parametrize(("name", "arguments"), [("densenet3d", {"block_config": [1]}), ("resnet10", {})])
def test_the_temperature_divides_the_linear_output(name, arguments):
    torch.manual_seed(0)
    network = build_network(name, arguments).eval()
    volume = torch.rand(1, 1, 32, 32, 32)
    with torch.inference_mode():
        before = network(volume)
    cool(network, 2.5)
    with torch.inference_mode():
        assert torch.allclose(network(volume), before / 2.5, atol=1e-6)


def test_a_network_without_a_linear_end_is_refused():
    with pytest.raises(ConfigurationError, match="cannot be calibrated"):
        cool(nn.Sequential(nn.Conv3d(1, 1, 1)), 2.0)
