"""Where networks run: the device of the settings, and a bundle's network placed on it.

Comes from the plan of an analysis; goes to the classifier, the regressor and R231. Never falls back from a GPU that
was asked for: the plan is what changes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.infer.bundles import ModelBundle
from covnode.networks.registry import build_network


def choose_device(name: str) -> torch.device:
    """Choose the device by its name, "cpu" or "cuda:N".

    Raises
    ------
    ConfigurationError
        The name is another, or the CUDA device is absent.
    """
    kind, _, number = name.partition(":")
    if name != "cpu" and (kind != "cuda" or not number.isdecimal()):
        raise ConfigurationError(f"unknown device {name!r}: use cpu or cuda:N")
    if kind == "cuda" and int(number) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigurationError(f"device {name!r} was asked for, but torch finds {count} CUDA devices here.")
    return torch.device(name)


class LoadedNetwork:
    """A bundle's network on its device, with its weights, ready to infer one figure.

    Parameters
    ----------
    bundle
        Its network answers one number a volume.

    Raises
    ------
    ConfigurationError
        The manifest names no known network.
    WeightsMismatch
        The weights are not those of the manifest, or were made for another network.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device) -> None:
        self.identity = bundle.identity
        self._device = device
        network = build_network(bundle.manifest.network.name, bundle.manifest.network.arguments)
        try:
            network.load_state_dict(load(bundle.read_weights()))
        except (SafetensorError, RuntimeError) as error:
            raise WeightsMismatch(f"the weights of {bundle.manifest.name} do not fit its network") from error
        self._network = network.to(device).eval()

    def output(self, network_input: NDArray[np.float32]) -> float:
        """Run the network.

        Parameters
        ----------
        network_input
            float32, (64, 128, 128), as covnode.imaging.resampling makes it.
        """
        with torch.inference_mode():
            return float(self._network(torch.from_numpy(network_input)[None, None].to(self._device)))
