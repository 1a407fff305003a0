"""The U-Net of lungmask's models: R231, R231CovidWeb and LTRCLobes (Hofmanninger et al., Eur Radiol Exp 2020;4:50).

A bundle names it and gives its arguments; infer and learn build it through covnode.networks.registry.
"""

from lungmask.resunet import UNet


def lungmask_unet(*, classes: int) -> UNet:
    """Build a U-Net of depth 5: float32 (n, 1, 256, 256) -> log-probabilities (n, classes, 256, 256).

    Parameters
    ----------
    classes
        With the background: 3 of the R231 models, 6 of LTRCLobes.
    """
    return UNet(n_classes=classes, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
