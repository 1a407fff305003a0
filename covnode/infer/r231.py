"""Lungs by the network R231 through lungmask: a CTVolume comes in, a LungMask goes to lesions, measures and report.

Used where the weights are installed (Hofmanninger et al., Eur Radiol Exp 2020;4:50). Reads the given file and nothing
else: never downloads. lungmask takes axial slices from inferior to superior with rows to posterior and columns to the
patient's left, which is the canonical grid, and calls the right lung 1 and the left one 2, which are Lung's labels.
"""

import hashlib
import logging
import pickle
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from lungmask import LMInferer

from covnode.errors import WeightsMismatch
from covnode.infer.plausibility import require_lungs
from covnode.records.result import ModelIdentity
from covnode.records.volume import CTVolume, LungMask

PUBLISHED_SHA256 = "d5d2fc3d"
"""First digits of the digest of lungmask's published file, unet_r231-d5d2fc3d.pth (torch.hub's naming)."""

CLASSES = 3
"""Background, right lung, left lung. lungmask reads the number of classes from the file: lobes would pass unseen."""

_SLICES_AT_ONCE_ON_CPU = 1
_SLICES_AT_ONCE = 20


class R231:
    """Lung segmentation with one set of weights on one device.

    Parameters
    ----------
    weights
        A state dictionary of R231 as torch.save writes it.
    device
        As torch names it: cpu, cuda, cuda:1.

    Raises
    ------
    WeightsMismatch
        When the file is absent, unreadable or made for another network.
    """

    def __init__(self, weights: Path, device: str) -> None:
        sha256 = _sha256(weights)
        published = sha256.startswith(PUBLISHED_SHA256)
        self.identity = ModelIdentity(
            name="R231",
            version=f"lungmask {version('lungmask')}",
            task="lungs",
            sha256=sha256,
            training_data="231 chest CT of routine care (Hofmanninger et al. 2020)"
            if published
            else "unknown: not the published weights of R231",
            demonstration=False,
        )
        self._inferer = _inferer(weights, torch.device(device))

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


def _sha256(weights: Path) -> str:
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsMismatch(f"the weights of R231 cannot be read: {weights.name}") from error


def _inferer(weights: Path, device: torch.device) -> LMInferer:
    # lungmask writes its progress to stdout, which belongs to the caller's results.
    logging.getLogger("lungmask").setLevel(logging.WARNING)
    batch = _SLICES_AT_ONCE_ON_CPU if device.type == "cpu" else _SLICES_AT_ONCE
    try:
        inferer = LMInferer(modelpath=str(weights), force_cpu=True, batch_size=batch, tqdm_disable=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError, IndexError) as error:
        raise WeightsMismatch(f"{weights.name} does not hold the weights of R231") from error
    if inferer.model.last.out_channels != CLASSES:
        raise WeightsMismatch(f"{weights.name} knows {inferer.model.last.out_channels} classes, R231 knows {CLASSES}")
    inferer.device = device
    inferer.model.to(device)
    return inferer
