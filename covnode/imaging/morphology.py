"""Morphology of masks with balls of a radius in mm on grids of any spacing: called by infer.

By exact Euclidean distances, so that thick slices and thin ones are treated alike. Outside of the grid nothing is
known and nothing is assumed: an edge of the grid neither erodes a mask nor stops a closing.
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
