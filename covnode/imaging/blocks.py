"""Coarser grids by block means, and back: called by infer, to work where a full grid buys nothing.

Pure numpy on (k, j, i) arrays; knows no patient and no unit but millimetres.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)
Factors = tuple[int, int, int]
Spacing = tuple[float, float, float]


def factors_towards(spacing_mm: Spacing, target_mm: float) -> Factors:
    """How many voxels to merge along (k, j, i) so that the spacing comes near a target without passing it by far.

    Parameters
    ----------
    spacing_mm
        Distances of voxel centres along (k, j, i).
    target_mm
        Wanted distance of block centres; an axis that is coarser already is left alone.
    """
    k, j, i = (max(1, round(target_mm / spacing)) for spacing in spacing_mm)
    return k, j, i


def coarser(spacing_mm: Spacing, factors: Factors) -> Spacing:
    """Distances of block centres along (k, j, i) in mm."""
    k, j, i = (spacing * factor for spacing, factor in zip(spacing_mm, factors, strict=True))
    return k, j, i


def block_mean(voxels: NDArray[np.int16], factors: Factors) -> NDArray[np.int16]:
    """Mean of each block of voxels, rounded towards minus infinity.

    Parameters
    ----------
    voxels
        int16, shape (k, j, i).
    factors
        Block size along (k, j, i); the last block of an axis may be smaller and then repeats the edge.

    Returns
    -------
    numpy.ndarray
        int16, shape (ceil(k / fk), ceil(j / fj), ceil(i / fi)).
    """
    if factors == (1, 1, 1):
        return voxels
    shape = tuple(-(-size // factor) for size, factor in zip(voxels.shape, factors, strict=True))
    means = np.empty(shape, dtype=np.int16)
    steps = range(factors[1]), range(factors[2])
    for slab in range(shape[0]):
        block = voxels[slab * factors[0] : (slab + 1) * factors[0]].sum(axis=0, dtype=np.int32)
        depth = min(factors[0], voxels.shape[0] - slab * factors[0])
        grown = ((0, shape[1] * factors[1] - block.shape[0]), (0, shape[2] * factors[2] - block.shape[1]))
        block = np.pad(block, grown, mode="edge")
        total = sum(block[j :: factors[1], i :: factors[2]] for j in steps[0] for i in steps[1])
        means[slab] = total // (depth * factors[1] * factors[2])
    return means


def spread(blocks: NDArray[Value], factors: Factors, shape: tuple[int, int, int], slices: slice) -> NDArray[Value]:
    """Repeat each block's value on the voxels that it was made from, for some slices of the full grid.

    Parameters
    ----------
    blocks
        Shape of `block_mean`'s result.
    factors
        As given to `block_mean`.
    shape
        (k, j, i) of the full grid.
    slices
        Which k of the full grid to return.
    """
    k = np.arange(*slices.indices(shape[0])) // factors[0]
    j = np.arange(shape[1]) // factors[1]
    i = np.arange(shape[2]) // factors[2]
    return blocks[np.ix_(k, j, i)]
