"""MONAI's 3-D DenseNets, ResNets and SE-ResNets with one input channel and one linear output.

A bundle names one and gives further arguments of MONAI's own; covnode.networks.registry builds it. Each takes float32
(n, 1, depth, height, width) and gives (n, 1); the caller applies the sigmoid or none.
"""

from collections.abc import Callable

from monai.networks.nets import densenet, resnet, senet
from torch import nn


def _densenet(variant: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def build(*, dropout_prob: float = 0.0) -> nn.Module:
        return variant(spatial_dims=3, in_channels=1, out_channels=1, dropout_prob=dropout_prob)

    return build


def _resnet(variant: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def build(*, conv1_t_size: int = 7, conv1_t_stride: int = 2) -> nn.Module:
        return variant(
            spatial_dims=3,
            n_input_channels=1,
            num_classes=1,
            conv1_t_size=conv1_t_size,
            conv1_t_stride=conv1_t_stride,
        )

    return build


def _seresnet(variant: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def build(*, dropout_prob: float = 0.2) -> nn.Module:
        return variant(spatial_dims=3, in_channels=1, num_classes=1, dropout_prob=dropout_prob)

    return build


CLASSICS: dict[str, Callable[..., nn.Module]] = {
    "densenet121": _densenet(densenet.DenseNet121),
    "densenet169": _densenet(densenet.DenseNet169),
    "resnet10": _resnet(resnet.resnet10),
    "resnet18": _resnet(resnet.resnet18),
    "resnet34": _resnet(resnet.resnet34),
    "resnet50": _resnet(resnet.resnet50),
    "seresnet50": _seresnet(senet.SEResNet50),
    "seresnext50": _seresnet(senet.SEResNext50),
}
"""Name -> builder: Huang et al. 2017 (densenet), He et al. 2016 (resnet), Hu et al. 2018 (seresnet, seresnext)."""
