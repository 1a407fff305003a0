"""Lungs by lungmask's networks: a CTVolume comes in, a LungMask goes to lesions, measures and report.

Used where the weights are installed: R231, R231CovidWeb and LTRCLobes (Hofmanninger et al., Eur Radiol Exp 2020;4:50).
The networks are lungmask's, and so is the answer, by an engine of our own. Never downloads. They take axial slices with
rows to posterior and columns to the patient's left, which is the canonical grid.
"""

import numpy as np
import torch
from lungmask.resunet import UNet
from numpy.typing import NDArray
from torch import nn

from covnode.errors import ConfigurationError
from covnode.infer.bundles import ModelBundle
from covnode.infer.device import network_of
from covnode.infer.label_parts import in_one_piece
from covnode.infer.quality import MIN_LUNGS_ML, require_lungs
from covnode.infer.slice_crops import cut_out, put_back
from covnode.infer.slice_engines import Precision, engine_for
from covnode.networks.lungmask_unet import in_two_parts
from covnode.records.volume import CTVolume, Lung, LungMask

LUNG_OF_CLASS = {
    3: np.array([0, Lung.RIGHT, Lung.LEFT], dtype=np.uint8),
    6: np.array([0, Lung.LEFT, Lung.LEFT, Lung.RIGHT, Lung.RIGHT, Lung.RIGHT], dtype=np.uint8),
}
"""By the number of classes: both lungs of the R231 models; the left lung's two lobes, then the right's three."""


class R231:
    """Lung segmentation with one set of weights on one device.

    Parameters
    ----------
    bundle
        Of task "lungs": lungmask's network with 3 classes, or with 6, whose lobes are told by their lung.
    slices_at_once
        What a CUDA device gets in one go: decides how much memory it takes, not what it answers.
    precision
        Of the arithmetic on a CPU.

    Raises
    ------
    WeightsMismatch
        When the weights are unreadable or made for another network.
    ConfigurationError
        When the CPU does not have the precision, or the bundle another network than lungmask's.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device, slices_at_once: int, precision: Precision) -> None:
        self.identity = bundle.identity
        self._lungs = LUNG_OF_CLASS[bundle.metadata.network_data_format.outputs.pred.num_channels]
        self._engine = engine_for(_network(bundle), device, slices_at_once, precision)

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
        return self._lungs[put_back(in_one_piece(self._engine.classes(slices)), boxes, voxels_hu.shape)]


def _network(bundle: ModelBundle) -> nn.Sequential:
    network = network_of(bundle)
    if not isinstance(network, UNet):
        raise ConfigurationError(f"{bundle.name} cannot segment lungs: its network is not lungmask's.")
    return in_two_parts(network)
