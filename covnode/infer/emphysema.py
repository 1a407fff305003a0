"""How much of the lungs is as thin as emphysema: a CTVolume and its LungMask come in, shares go to the result record.

Low attenuation area below -950 HU, on the coarse grid of lesions, where the noise of a sharp kernel is averaged away.
Tells density, never why it is low; nothing of it counts as affected.
"""

import numpy as np

from covnode.imaging.blocks import block_mean, factors_towards
from covnode.imaging.morphology import box_of
from covnode.infer.lesions import GRID_MM
from covnode.infer.measures import percent_per_side
from covnode.records.result import PerSide
from covnode.records.volume import CTVolume, Lung, LungMask

LOW_ATTENUATION_HU = -950
"""Gevenois et al., Am J Respir Crit Care Med 1996;154:187: the threshold that agrees with pathology on thin slices."""


def low_attenuation_percent(volume: CTVolume, lungs: LungMask) -> PerSide:
    """Measure the share of each lung below -950 HU, in percent; None for a side without lung.

    Parameters
    ----------
    volume, lungs
        On one grid.
    """
    factors = factors_towards(volume.spacing_mm, GRID_MM)
    low, whole = np.zeros((2, max(Lung) + 1), dtype=np.int64)
    for side in Lung:
        lung = lungs.labels == side
        if not lung.any():
            continue
        box = box_of(lung, 0.0, volume.spacing_mm)
        inside = block_mean(lung[box].astype(np.int16) * 100, factors) >= 50
        whole[side] = np.count_nonzero(inside)
        low[side] = np.count_nonzero(inside & (block_mean(volume.voxels_hu[box], factors) < LOW_ATTENUATION_HU))
    return percent_per_side(low, whole)
