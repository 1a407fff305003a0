"""How severe: a score by a 3-D network, and the class and the CT severity index that follow from it.

The lungs on the networks' grid come in; score, class and index go to the result.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from covnode.infer.bundles import ModelBundle
from covnode.infer.device import LoadedNetwork
from covnode.records.result import SeverityCategory

_CLASSES = tuple(SeverityCategory)
_CLASS_WIDTH = 100 / len(_CLASSES)
_CTSI_MAXIMUM = 25


class SeverityRegressor:
    """A severity network on its device.

    Parameters
    ----------
    bundle
        A bundle of task "severity": one linear output, the score / 100.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        As LoadedNetwork.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device) -> None:
        self._network = LoadedNetwork(bundle, device)
        self.identity = self._network.identity

    def __call__(self, network_input: NDArray[np.float32]) -> float:
        """Return the score, clipped to 0..100 and rounded to two decimals: finer ones differ between processors.

        Parameters
        ----------
        network_input
            float32, (64, 128, 128), as covnode.imaging.resampling makes it.
        """
        return round(min(max(100.0 * self._network.output(network_input), 0.0), 100.0), 2)


def severity_category(score: float) -> SeverityCategory:
    """Return the class of a score 0..100: Low below 20, Mild below 40, Moderate below 60, Severe below 80, Critical."""
    return _CLASSES[min(int(score // _CLASS_WIDTH), len(_CLASSES) - 1)]


def ctsi(score: float) -> int:
    """Return the CT severity index 0..25 of a score 0..100: floor(score / 100 * 25)."""
    # Multiplied first: 100 divides the product of a whole score without a rounding error below the whole index.
    return math.floor(score * _CTSI_MAXIMUM / 100)
