"""The networks that a bundle may name. Called by infer and learn; builds them without weights."""

from collections.abc import Callable, Mapping

from torch import nn

from covnode.errors import ConfigurationError
from covnode.networks.densenet import densenet3d
from covnode.networks.lungmask_unet import lungmask_unet
from covnode.networks.monai_classics import CLASSICS
from covnode.networks.zunair import zunair3d

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "densenet3d": densenet3d,
    "lungmask-unet": lungmask_unet,
    "zunair3d": zunair3d,
    **CLASSICS,
}


def build_network(name: str, arguments: Mapping[str, object]) -> nn.Module:
    """Build a network by its name with random weights.

    Raises
    ------
    ConfigurationError
        No network has this name, or it does not take these arguments.
    """
    if name not in NETWORKS:
        raise ConfigurationError(f"unknown network {name!r}; known: {', '.join(sorted(NETWORKS))}")
    try:
        return NETWORKS[name](**arguments)
    except TypeError as error:
        raise ConfigurationError(f"network {name!r} does not take these arguments: {error}") from error
