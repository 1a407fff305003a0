"""Image noise: the quality gate asks for it before anything is segmented.

The standard deviation of Hounsfield units within small blocks of one tissue. Edges, vessels and bone only raise that of
a block, so a low percentile of many blocks is the noise (after Christianson et al., AJR 2015;205:W93-W99, who take the
mode of local standard deviations between 0 and 100 HU).
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from covnode.infer.field_of_view import find_padding, spread_slices
from covnode.records.volume import CTVolume

BLOCK_MM = 6.0
FEWEST_PIXELS = 6
AIR_HU = -940
"""A block of room air or trachea is darker in the mean, one of lung lighter, but for the worst emphysema."""

SOFT_TISSUE_HU = (0, 120)
"""Muscle, unenhanced or moderately enhanced organs, blood; no fat, no bone."""

PERCENTILE = 25
FEWEST_BLOCKS = 20

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True)
class Noise:
    """Standard deviations in HU; None where the images hold too little of it."""

    air_hu: float | None
    soft_tissue_hu: float | None


def measure_noise(volume: CTVolume) -> Noise:
    """Measure the noise in air and in soft tissue."""
    spacing_mm = volume.spacing_mm[1:]
    inside = ~_blocks(find_padding(volume), spacing_mm).any(axis=1)
    means, deviations = [], []
    # Noise is a property of the dose and the kernel, not of a slice.
    for k in spread_slices(volume):
        values = _blocks(volume.voxels_hu[k], spacing_mm)[inside].astype(np.float32)
        mean = values.mean(axis=1)
        values -= mean[:, None]
        means.append(mean)
        deviations.append(np.sqrt(np.einsum("ij,ij->i", values, values) / (values.shape[1] - 1)))
    mean_hu, deviation_hu = np.concatenate(means), np.concatenate(deviations)
    # Without any deviation it is a slice that was blanked, or air that the scanner clipped.
    mean_hu, deviation_hu = mean_hu[deviation_hu > 0], deviation_hu[deviation_hu > 0]
    least, most = SOFT_TISSUE_HU
    return Noise(
        air_hu=_typical(deviation_hu[mean_hu < AIR_HU]),
        soft_tissue_hu=_typical(deviation_hu[(mean_hu > least) & (mean_hu < most)]),
    )


def _blocks(plane: NDArray[_Value], spacing_mm: tuple[float, float]) -> NDArray[_Value]:
    """Cut a slice of shape (j, i) into blocks: shape (blocks, pixels of a block)."""
    rows, columns = (max(FEWEST_PIXELS, round(BLOCK_MM / spacing)) for spacing in spacing_mm)
    high, wide = plane.shape[0] // rows, plane.shape[1] // columns
    blocks = plane[: high * rows, : wide * columns].reshape(high, rows, wide, columns)
    return blocks.transpose(0, 2, 1, 3).reshape(high * wide, rows * columns)


def _typical(deviations_hu: NDArray[np.float32]) -> float | None:
    if len(deviations_hu) < FEWEST_BLOCKS:
        return None
    return float(np.percentile(deviations_hu, PERCENTILE))
