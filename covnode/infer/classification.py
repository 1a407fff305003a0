"""The probability of COVID-19 by a 3-D network: the lungs on the networks' grid in, one figure out to the result."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from covnode.infer.bundles import ModelBundle
from covnode.infer.device import LoadedNetwork


class Classifier:
    """A classification network on its device.

    Parameters
    ----------
    bundle
        A bundle of task "classification": one linear output, the logit.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        As LoadedNetwork.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device) -> None:
        self._network = LoadedNetwork(bundle, device)
        self.identity = self._network.identity

    def __call__(self, network_input: NDArray[np.float32]) -> float:
        """Return the probability 0..1, rounded to four decimals: finer ones differ between processors.

        Parameters
        ----------
        network_input
            float32, (64, 128, 128), as covnode.imaging.resampling makes it.
        """
        return round(1.0 / (1.0 + math.exp(-self._network.output(network_input))), 4)
