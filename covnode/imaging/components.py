"""Connected components and holes of masks: called by infer.

Face-connected throughout: two regions that meet in an edge alone are two. Deterministic: a component's number follows
the order of its first voxel. Pure numpy, cc3d and scipy on (k, j, i) arrays.
"""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

_IN_PLANE = ndimage.generate_binary_structure(2, 1)[np.newaxis]


@dataclass(frozen=True)
class Components:
    """The components of a mask.

    Attributes
    ----------
    labels
        Integer, shape of the mask; 0 is background.
    sizes
        Voxels of each label, [0] that of the background.
    """

    labels: NDArray[np.unsignedinteger]
    sizes: NDArray[np.int64]

    def by_size(self) -> list[int]:
        """Labels from the largest component to the smallest; the lower label first among equals."""
        order = np.argsort(-self.sizes[1:], kind="stable") + 1
        return [int(label) for label in order]

    def mask_of(self, labels: list[int]) -> Mask:
        """Return the voxels of the given labels."""
        chosen = np.zeros(len(self.sizes), dtype=bool)
        chosen[labels] = True
        return np.asarray(chosen[self.labels])


def components(mask: Mask) -> Components:
    """Find the face-connected components of a mask of shape (k, j, i)."""
    labels = cc3d.connected_components(mask, connectivity=6)
    return Components(labels, np.bincount(labels.ravel()))


def at_least(mask: Mask, voxels: float) -> Mask:
    """Keep the components of a mask that have at least so many voxels."""
    found = components(mask)
    kept = found.sizes >= voxels
    kept[0] = False
    return np.asarray(kept[found.labels])


def small_in_slices(mask: Mask, voxels: float) -> Mask:
    """Keep the parts of a mask, each connected within its slice, that have at most so many voxels."""
    labels, count = ndimage.label(mask, structure=np.concatenate([0 * _IN_PLANE, _IN_PLANE, 0 * _IN_PLANE]))
    kept = np.bincount(labels.ravel(), minlength=count + 1) <= voxels
    kept[0] = False
    return np.asarray(kept[labels])


def largest(mask: Mask) -> Mask:
    """Keep the largest component of a mask; an empty mask stays empty."""
    order = components(mask)
    return order.mask_of(order.by_size()[:1])


def reached_within_slices(seed: Mask, mask: Mask) -> Mask:
    """Find the voxels of a mask that are connected to a seed within their own slice.

    Slice by slice, so that nothing blurred into the next slice opens a way from a lung to a bowel.
    """
    return np.asarray(ndimage.binary_propagation(seed & mask, structure=_IN_PLANE, mask=mask))


def holes(mask: Mask, axis: int | None = None) -> Mask:
    """Background that a mask encloses.

    Parameters
    ----------
    mask
        Shape (k, j, i).
    axis
        None: enclosed in space. Else enclosed within each plane perpendicular to this axis.
    """
    found = np.zeros_like(mask)
    if axis is None:
        order = components(~mask)
        outside = np.zeros(len(order.sizes), dtype=bool)
        for side in range(3):
            for edge in (0, -1):
                outside[np.unique(order.labels.take(edge, axis=side))] = True
        return np.asarray(~mask & ~outside[order.labels])
    for plane, target in zip(np.moveaxis(mask, axis, 0), np.moveaxis(found, axis, 0), strict=True):
        if plane.any():
            target[...] = ndimage.binary_fill_holes(plane) & ~plane
    return found
