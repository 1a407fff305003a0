"""The lungs on the small grid of the 3-D networks: volume and lung mask in, one array for all networks out.

Called between segmentation and the networks, and by the training: both must see the same. numpy and scipy only.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from covnode.errors import LungsNotFound
from covnode.imaging.upright import UprightStack
from covnode.records.volume import CTVolume, LungMask

NETWORK_SHAPE = (64, 128, 128)
"""Depth, height and width of a network's input: superior, posterior, left."""

WINDOW_HU = (-1000.0, 400.0)
"""The densities that become 0 and 1."""


def network_input(volume: CTVolume, lungs: LungMask) -> NDArray[np.float32]:
    """Return the lungs as the 3-D networks take them; slices of a tilted gantry as an upright stack.

    Raises
    ------
    LungsNotFound
        The mask is empty.

    See Also
    --------
    resample_lungs : the same from bare arrays, and what the result holds.
    """
    stack = UprightStack(volume)
    return resample_lungs(stack.volume.voxels_hu, stack.moved(lungs.labels, 0))


def resample_lungs(voxels_hu: NDArray[np.int16], lung_labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Crop to the lungs, blank what is outside them, and resample to the networks' grid.

    The crop is the mask's bounding box: the networks then see the same lungs whatever the field of view and however
    much of the neck and the abdomen was scanned, and spend no voxel on air. The size of the lungs is lost on purpose:
    none of the networks' answers depends on it. Each axis is resampled by a triangle as wide as the coarser of both
    grids: an average where the volume is finer than the result, a linear interpolation where it is coarser.

    Parameters
    ----------
    voxels_hu
        int16, shape (k, j, i), Hounsfield units, canonical grid.
    lung_labels
        uint8, same shape; every label is lung.

    Returns
    -------
    numpy.ndarray
        float32, NETWORK_SHAPE, 0..1: WINDOW_HU scaled and clipped, 0 outside the lungs, voxels weighted by the share
        of lung in them.

    Raises
    ------
    LungsNotFound
        The mask is empty.
    """
    box = _bounding_box(lung_labels)
    cropped_hu, inside = voxels_hu[box], lung_labels[box] > 0
    along_k, along_j, along_i = (
        _weights(size, target) for size, target in zip(inside.shape, NETWORK_SHAPE, strict=True)
    )
    low, high = WINDOW_HU
    # Slice by slice, so that no second full-size volume of floats is ever held.
    planes = np.empty((len(inside), *NETWORK_SHAPE[1:]), dtype=np.float32)
    for k, (plane_hu, lung) in enumerate(zip(cropped_hu, inside, strict=True)):
        scaled = np.clip((plane_hu.astype(np.float32) - low) / (high - low), 0.0, 1.0) * lung
        planes[k] = (along_i @ (along_j @ scaled).T).T
    resampled: NDArray[np.float32] = (along_k @ planes.reshape(len(planes), -1)).reshape(NETWORK_SHAPE)
    return resampled


def _bounding_box(labels: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    lung = labels > 0
    in_slice = np.any(lung, axis=0)
    spans = []
    for occupied in (np.any(lung, axis=(1, 2)), np.any(in_slice, axis=1), np.any(in_slice, axis=0)):
        places = np.flatnonzero(occupied)
        if len(places) == 0:
            raise LungsNotFound("the lung mask is empty")
        spans.append(slice(int(places[0]), int(places[-1]) + 1))
    k, j, i = spans
    return k, j, i


def _weights(size: int, target: int) -> sparse.csr_array:
    """Matrix (target, size) that resamples one axis, its rows summing to 1; voxel edges coincide at both ends."""
    scale = size / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(size) - centres[:, None]) / max(scale, 1.0)
    triangle = np.maximum(1.0 - distance, 0.0)
    # Beyond the first and the last voxel there is none to interpolate with: the row's sum makes up for it.
    return sparse.csr_array((triangle / triangle.sum(axis=1, keepdims=True)).astype(np.float32))
