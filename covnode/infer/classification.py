"""The probability of COVID-19 by a 3-D network: the lungs on the networks' grid in, one figure out to the result."""

import numpy as np
import torch
from numpy.typing import NDArray

from covnode.infer.bundles import ModelBundle
from covnode.infer.device import load_network
from covnode.records.result import ModelIdentity


class Classifier:
    """A classification network on its device.

    Parameters
    ----------
    bundle
        A bundle of task "classification": one linear output, the logit.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        As load_network.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device) -> None:
        self.identity: ModelIdentity = bundle.identity
        self._network = load_network(bundle, device)
        self._device = device

    def __call__(self, network_input: NDArray[np.float32]) -> float:
        """Return the probability 0..1, rounded to four decimals: finer ones differ between processors.

        Parameters
        ----------
        network_input
            float32, (64, 128, 128), as covnode.imaging.resampling makes it.
        """
        with torch.inference_mode():
            logit = self._network(torch.from_numpy(network_input)[None, None].to(self._device))
            return round(float(torch.sigmoid(logit)), 4)
