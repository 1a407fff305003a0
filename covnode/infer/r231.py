"""Lungs by the network R231: a CTVolume comes in, a LungMask goes to lesions, measures and report.

Used where the weights are installed (Hofmanninger et al., Eur Radiol Exp 2020;4:50). The network is lungmask's, and so
is the answer, by an engine of our own. Reads the given file and nothing else: never downloads. The network takes axial
slices with rows to posterior and columns to the patient's left, which is the canonical grid, and calls the right lung 1
and the left one 2, which are Lung's labels.
"""

import pickle
from io import BytesIO

import numpy as np
import torch
from lungmask.resunet import UNet
from numpy.typing import NDArray
from torch import nn

from covnode.errors import WeightsMismatch
from covnode.infer.bundles import ModelBundle
from covnode.infer.label_parts import in_one_piece
from covnode.infer.quality import MIN_LUNGS_ML, require_lungs
from covnode.infer.slice_crops import cut_out, put_back
from covnode.infer.slice_engines import Precision, engine_for
from covnode.records.volume import CTVolume, LungMask

CLASSES = 3
"""Background, right lung, left lung."""


class R231:
    """Lung segmentation with one set of weights on one device.

    Parameters
    ----------
    bundle
        Its weights are a state dictionary of R231 as torch.save writes it.
    slices_at_once
        What a CUDA device gets in one go: decides how much memory it takes, not what it answers.
    precision
        Of the arithmetic on a CPU.

    Raises
    ------
    WeightsMismatch
        When the weights are unreadable or made for another network.
    ConfigurationError
        When the CPU does not have the precision.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device, slices_at_once: int, precision: Precision) -> None:
        self.identity = bundle.identity
        self._engine = engine_for(_in_two(_network(bundle)), device, slices_at_once, precision)

    def segment(self, volume: CTVolume, min_lungs_ml: float = MIN_LUNGS_ML) -> LungMask:
        """Segment both lungs.

        Parameters
        ----------
        volume
            A chest CT on the canonical grid.
        min_lungs_ml
            Less in all is not taken for lungs.

        Raises
        ------
        LungsNotFound
            When the network finds too little to be lungs.
        """
        labels = self.labels(volume.voxels_hu)
        require_lungs(labels, volume.voxel_ml, min_lungs_ml)
        return LungMask(labels, self.identity)

    def labels(self, voxels_hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return 0 or a Lung label for each voxel of a chest CT of shape (k, j, i) on the canonical grid."""
        slices, boxes = cut_out(voxels_hu)
        return put_back(in_one_piece(self._engine.classes(slices)), boxes, voxels_hu.shape)


def r231_network() -> UNet:
    """Build R231's network without weights: U-Net of depth 5, float32 (n, 1, 256, 256) -> (n, 3, 256, 256)."""
    return UNet(n_classes=CLASSES, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)


def _network(bundle: ModelBundle) -> UNet:
    network = r231_network()
    try:
        network.load_state_dict(torch.load(BytesIO(bundle.read_weights()), weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
        raise WeightsMismatch(f"{bundle.manifest.weights} does not hold the weights of R231") from error
    return network


def _in_two(network: UNet) -> nn.Sequential:
    """Part the network behind its first block and make it quicker; it computes what it did."""
    for block in network.up_path:
        # A pointwise convolution and an interpolation can change places; a quarter of the pixels go through it then.
        upsample, pointwise = block.up
        block.up = nn.Sequential(pointwise, upsample)
    # bfloat16 would round the densities to steps of 6 HU: all but for that the mask would hardly be another.
    first, network.down_path[0] = network.down_path[0], nn.Identity()
    return nn.Sequential(first, network)
