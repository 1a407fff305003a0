"""The small 3-D DenseNet of the demonstration models, built on MONAI's.

A bundle names it and gives its arguments; infer and learn build it through covnode.networks.registry.
"""

from monai.networks.nets.densenet import DenseNet
from torch import nn


def densenet3d(
    *,
    init_features: int = 16,
    growth_rate: int = 8,
    block_config: tuple[int, ...] = (2, 3, 4),
    dropout_prob: float = 0.0,
) -> nn.Module:
    """Build a 3-D DenseNet (Huang et al. 2017) with one input channel and one linear output.

    It takes float32 (n, 1, depth, height, width) and gives (n, 1); the caller applies the sigmoid or none.

    Parameters
    ----------
    block_config
        Layers of each dense block; between two blocks the grid is halved.
    """
    network: nn.Module = DenseNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        init_features=init_features,
        growth_rate=growth_rate,
        block_config=tuple(block_config),
        dropout_prob=dropout_prob,
    )
    return network
