"""Where networks run: the device of the settings, and a bundle's network placed on it.

Comes from the plan of an analysis; goes to the classifier, the regressor and R231. Never falls back from a GPU that
was asked for: the plan is what changes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

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


def network_of(bundle: ModelBundle) -> nn.Module:
    """Build a bundle's network with its weights, every tensor of which must have its name and shape.

    Raises
    ------
    ConfigurationError
        The bundle names no known network, or one that does not answer as its metadata say.
    WeightsMismatch
        The weights are not those of the metadata, or were made for another network.
    """
    _require_answer(bundle)
    network = build_network(bundle.network.name, bundle.network.arguments)
    try:
        network.load_state_dict(load(bundle.read_weights()))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsMismatch(f"the weights of {bundle.name} do not fit its network {bundle.network.name}") from error
    return network


def _require_answer(bundle: ModelBundle) -> None:
    """Compute shapes alone: what the network makes of one input must be what the metadata say."""
    formats = bundle.metadata.network_data_format
    image, pred = formats.inputs.image, formats.outputs.pred
    try:
        with torch.device("meta"):
            network = build_network(bundle.network.name, bundle.network.arguments).eval()
            answer = network(torch.empty((1, image.num_channels, *(int(size) for size in image.spatial_shape))))
    except (ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        raise ConfigurationError(f"{bundle.name}: its network {bundle.network.name} does not take its input") from error
    if tuple(answer.shape) != (1, pred.num_channels, *pred.spatial_shape):
        raise ConfigurationError(
            f"{bundle.name}: its network {bundle.network.name} answers {list(answer.shape[1:])}, its metadata say "
            f"{[pred.num_channels, *pred.spatial_shape]}"
        )


class LoadedNetwork:
    """A bundle's network on its device, with its weights, ready to infer one figure.

    Parameters
    ----------
    bundle
        Its network answers one number a volume.

    Raises
    ------
    ConfigurationError
        The bundle names no known network.
    WeightsMismatch
        The weights are not those of the metadata, or were made for another network.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device) -> None:
        self.identity = bundle.identity
        self._device = device
        self._network = network_of(bundle).to(device).eval()

    def output(self, network_input: NDArray[np.float32]) -> float:
        """Run the network.

        Parameters
        ----------
        network_input
            float32, (64, 128, 128), as covnode.imaging.resampling makes it.
        """
        with torch.inference_mode():
            return float(self._network(torch.from_numpy(network_input)[None, None].to(self._device)))
