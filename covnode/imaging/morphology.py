"""Morphology of masks with balls of a radius in mm on grids of any spacing: called by infer.

By exact Euclidean distances, so that thick slices and thin ones are treated alike; within slices, where that is
enough, by disks, which is faster. Outside of the grid nothing is known and nothing is assumed: an edge of the grid
neither erodes a mask nor stops a closing.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


def box_of(mask: Mask, margin_mm: float, spacing_mm: Spacing) -> tuple[slice, slice, slice]:
    """Smallest box (k, j, i) around a mask with a margin, within the grid; the whole grid for an empty mask."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2])
    sides = []
    for axis, spacing in enumerate(spacing_mm):
        others = tuple(other for other in range(3) if other != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        margin = int(np.ceil(margin_mm / spacing))
        sides.append(slice(max(0, int(hit[0]) - margin), int(hit[-1]) + 1 + margin))
    return sides[0], sides[1], sides[2]


def distance_to(mask: Mask, spacing_mm: Spacing) -> NDArray[np.float32]:
    """Distance in mm of each voxel centre to the nearest one in the mask; infinite for an empty mask."""
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm), dtype=np.float32)


def dilate(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Add all voxels within a distance of the mask."""
    box = box_of(mask, radius_mm, spacing_mm)
    grown = np.zeros_like(mask)
    grown[box] = distance_to(mask[box], spacing_mm) <= radius_mm
    return grown


def erode(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Keep the voxels of the mask that are farther than a distance from all others of the grid."""
    margin = max(spacing_mm)
    box = box_of(mask, margin, spacing_mm)
    shrunk = np.zeros_like(mask)
    shrunk[box] = distance_to(~mask[box], spacing_mm) > radius_mm
    return shrunk


def opened(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Keep the part of the mask that balls of this radius fill without leaving it."""
    return dilate(erode(mask, radius_mm, spacing_mm), radius_mm, spacing_mm)


def closed(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Add to the mask its gaps that no ball of this radius enters."""
    return mask | erode(dilate(mask, radius_mm, spacing_mm), radius_mm, spacing_mm)


def opened_in_slices(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Keep the part of each slice that disks of this radius fill without leaving it."""
    disk = _disk(radius_mm, spacing_mm)
    return np.asarray(ndimage.binary_dilation(ndimage.binary_erosion(mask, disk, border_value=1), disk))


def closed_in_slices(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Add to each slice the gaps of the mask that no disk of this radius enters."""
    disk = _disk(radius_mm, spacing_mm)
    return np.asarray(mask | ndimage.binary_erosion(ndimage.binary_dilation(mask, disk), disk, border_value=1))


def _disk(radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Shape (1, j, i); at least a cross of three pixels."""
    half_j, half_i = (max(1, int(radius_mm / spacing)) for spacing in spacing_mm[1:])
    j, i = np.ogrid[-half_j : half_j + 1, -half_i : half_i + 1]
    disk = np.hypot(j * spacing_mm[1], i * spacing_mm[2]) <= max(radius_mm, *spacing_mm[1:])
    return np.asarray(disk[np.newaxis])
