"""Density of the blood, which tells whether and how strongly a contrast agent enhances it.

The quality gate asks for it once the lungs are known: heart and great vessels lie between them, in front of the spine.
"""

import numpy as np
from numpy.typing import NDArray

from covnode.imaging.blocks import block_mean
from covnode.records.volume import CTVolume, Lung, LungMask

MOST_SLICES = 12
MIDDLE = (0.3, 0.7)
"""Share of the lungs' height, from below, where the heart and the great vessels are."""

BLOCK_MM = 4.0
"""Means of such blocks: noise no longer counts, vessels of the heart's size do."""

BLOOD_HU = (20, 1000)
"""From anaemic blood to undiluted contrast agent."""

PERCENTILE = 75
"""Muscle, lymph nodes and unenhanced chambers are darker than what is enhanced."""

FEWEST_BLOCKS = 20
_STRIDE = 4
ENHANCED_HU = 100.0
"""Blood without a contrast agent has 30 to 60 HU."""


def measure_blood_hu(volume: CTVolume, lungs: LungMask) -> float | None:
    """Estimate the density of blood in HU; None where there is no middle between two lungs."""
    coarse = np.ascontiguousarray(lungs.labels[:, ::_STRIDE, ::_STRIDE])
    with_lung = np.flatnonzero(coarse.any(axis=(1, 2)))
    if len(with_lung) == 0:
        return None
    first, last = (with_lung[0] + share * (with_lung[-1] - with_lung[0]) for share in MIDDLE)
    slices = np.unique(np.linspace(first, last, MOST_SLICES).round().astype(int))
    found = [_between(volume, coarse[k], k) for k in slices]
    blood_hu = np.concatenate(found)
    return float(np.percentile(blood_hu, PERCENTILE)) if len(blood_hu) >= FEWEST_BLOCKS else None


def _between(volume: CTVolume, labels: NDArray[np.uint8], k: int) -> NDArray[np.int16]:
    """Block means of what lies between the lungs of one slice, in its front half, and has the density of blood.

    Parameters
    ----------
    labels
        Of the slice, every fourth row and column.
    """
    j_right, i_right = np.nonzero(labels == Lung.RIGHT)
    j_left, i_left = np.nonzero(labels == Lung.LEFT)
    if len(i_right) == 0 or len(i_left) == 0:
        return np.empty(0, dtype=np.int16)
    front, behind = min(j_right.min(), j_left.min()), max(j_right.max(), j_left.max())
    rows = slice(int(front) * _STRIDE, int(front + behind) * _STRIDE // 2)
    columns = slice(int(i_right.mean() * _STRIDE), int(i_left.mean() * _STRIDE))
    _, j_mm, i_mm = volume.spacing_mm
    factors = (1, max(1, round(BLOCK_MM / j_mm)), max(1, round(BLOCK_MM / i_mm)))
    middle_hu = volume.voxels_hu[k : k + 1, rows, columns]
    if middle_hu.size == 0:
        return np.empty(0, dtype=np.int16)
    means = block_mean(middle_hu, factors)
    least, most = BLOOD_HU
    return means[(means > least) & (means < most)]
