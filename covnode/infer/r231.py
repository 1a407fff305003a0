"""Lungs by the network R231 through lungmask: a CTVolume comes in, a LungMask goes to lesions, measures and report.

Used where the weights are installed (Hofmanninger et al., Eur Radiol Exp 2020;4:50). Reads the given file and nothing
else: never downloads. lungmask takes axial slices from inferior to superior with rows to posterior and columns to the
patient's left, which is the canonical grid, and calls the right lung 1 and the left one 2, which are Lung's labels.
"""

import logging
import pickle
from pathlib import Path

import numpy as np
import torch
from lungmask import LMInferer

from covnode.errors import WeightsMismatch
from covnode.infer.bundles import ModelBundle
from covnode.infer.plausibility import require_lungs
from covnode.records.volume import CTVolume, LungMask

CLASSES = 3
"""Background, right lung, left lung. lungmask reads the number of classes from the file: lobes would pass unseen."""


class R231:
    """Lung segmentation with one set of weights on one device.

    Parameters
    ----------
    bundle
        Its weights are a state dictionary of R231 as torch.save writes it.
    slices_at_once
        What the network gets in one go: decides how much memory it takes, not what it answers.

    Raises
    ------
    WeightsMismatch
        When the weights are unreadable or made for another network.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device, slices_at_once: int) -> None:
        self.identity = bundle.identity
        self._inferer = _inferer(bundle.weights_path, device, slices_at_once)

    def segment(self, volume: CTVolume) -> LungMask:
        """Segment both lungs.

        Parameters
        ----------
        volume
            A chest CT on the canonical grid.

        Raises
        ------
        LungsNotFound
            When the network finds too little to be lungs.
        """
        labels = np.asarray(self._inferer.apply(volume.voxels_hu), dtype=np.uint8)
        require_lungs(labels, volume.voxel_ml)
        return LungMask(labels, self.identity)


def _inferer(weights: Path, device: torch.device, slices_at_once: int) -> LMInferer:
    # lungmask writes its progress to stdout, which belongs to the caller's results.
    logging.getLogger("lungmask").setLevel(logging.WARNING)
    try:
        inferer = LMInferer(modelpath=str(weights), force_cpu=True, batch_size=slices_at_once, tqdm_disable=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError, IndexError) as error:
        raise WeightsMismatch(f"{weights.name} does not hold the weights of R231") from error
    if inferer.model.last.out_channels != CLASSES:
        raise WeightsMismatch(f"{weights.name} knows {inferer.model.last.out_channels} classes, R231 knows {CLASSES}")
    inferer.device = device
    inferer.model.to(device)
    return inferer
