"""The U-Net of lungmask's models: R231, R231CovidWeb and LTRCLobes (Hofmanninger et al., Eur Radiol Exp 2020;4:50).

A bundle names it and gives its arguments; infer and learn build it through covnode.networks.registry.
"""

from lungmask.resunet import UNet
from torch import nn


def lungmask_unet(*, classes: int) -> UNet:
    """Build a U-Net of depth 5: float32 (n, 1, 256, 256) -> log-probabilities (n, classes, 256, 256).

    Parameters
    ----------
    classes
        With the background: 3 of the R231 models, 6 of LTRCLobes.
    """
    return UNet(n_classes=classes, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)


def in_two_parts(network: UNet) -> nn.Sequential:
    """Part the network behind its first block and make it quicker; what it computes stays.

    The first part is to be computed in float32 whatever the precision of the rest: bfloat16 would round the densities
    of the input to steps of 6 HU, which moves the mask more than all else that it rounds.
    """
    for block in network.up_path:
        # A pointwise convolution and an interpolation can change places; a quarter of the pixels go through it then.
        upsample, pointwise = block.up
        block.up = nn.Sequential(pointwise, upsample)
    first, network.down_path[0] = network.down_path[0], nn.Identity()
    return nn.Sequential(first, network)
