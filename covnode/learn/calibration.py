"""Calibrate a classifier by one temperature (Guo et al. 2017, On Calibration of Modern Neural Networks).

Called after fitting with the held-out logits; the temperature goes into the network's last layer, so that a bundle
needs no further figure, and its sigmoid is the calibrated probability. Order and side of 0.5 stay as they are.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covnode.errors import ConfigurationError

HIGHEST = 10.0

Values = NDArray[np.float32]


def fitted_temperature(logits: Values, truth: Values) -> float:
    """Return the temperature 1..10 at which the held-out cross-entropy is least.

    Never below 1: the held-out cases chose the epoch, so what they say for more certainty is not trusted.
    """
    candidates = np.geomspace(1.0, HIGHEST, 400)
    scaled = logits.astype(np.float64)[:, None] / candidates
    losses = np.mean(np.logaddexp(0.0, scaled) - truth[:, None] * scaled, axis=0)
    return float(candidates[int(np.argmin(losses))])


def cool(network: nn.Module, temperature: float) -> None:
    """Divide the network's linear output by the temperature, in the weights of its last layer.

    Raises
    ------
    ConfigurationError
        The network has no linear layer to end with.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].out_features != 1:
        raise ConfigurationError("The network ends with no linear layer of one output, and cannot be calibrated.")
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.div_(temperature)
