"""The slices of a tilted gantry as an upright stack: for what looks at the lungs, not for what counts or reports them.

Called by wiring around the segmenters, and by resampling. Moves whole slices by whole pixels, so that no density is
computed and the way back is exact; a stack that is not tilted is left as it is.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from covnode.records.volume import AIR_HU, CTVolume, LesionMask, LungMask

Scalar = TypeVar("Scalar", bound="np.generic[Any]")


class UprightStack:
    """A volume with its slices above one another, and the way between both grids.

    Parameters
    ----------
    volume
        A chest CT on the canonical grid; ``affine_lps_mm`` is sheared where the gantry was tilted.

    Attributes
    ----------
    volume
        The same slices on a grid without shear, air around them: no voxel lies more than half a pixel off its place.
        The given volume itself where no slice is to be moved.
    """

    def __init__(self, volume: CTVolume) -> None:
        self._shape = volume.voxels_hu.shape
        lean_ji = _lean_pixels(volume.affine_lps_mm)
        middle = (self._shape[0] - 1) / 2
        shifts = np.rint(np.outer(np.arange(self._shape[0]) - middle, lean_ji)).astype(int)
        self._starts = shifts - shifts.min(axis=0)
        self.volume = volume
        if shifts.any():
            self.volume = replace(
                volume,
                voxels_hu=self.moved(volume.voxels_hu, AIR_HU),
                affine_lps_mm=_without_shear(volume, shifts.min(axis=0) + lean_ji * middle),
            )

    def moved(self, voxels: NDArray[Scalar], fill: int) -> NDArray[Scalar]:
        """Move the slices of an array of the given volume's shape to where they stand upright, ``fill`` around them."""
        if not self._starts.any():
            return voxels
        moved = np.full((self._shape[0], *(self._starts.max(axis=0) + self._shape[1:])), fill, dtype=voxels.dtype)
        for target, plane, (j, i) in zip(moved, voxels, self._starts, strict=True):
            target[j : j + self._shape[1], i : i + self._shape[2]] = plane
        return moved

    def moved_back(self, voxels: NDArray[Scalar]) -> NDArray[Scalar]:
        """Take an array of the upright volume's shape back to the given volume's grid: the inverse of `moved`."""
        if not self._starts.any():
            return voxels
        _, rows, columns = self._shape
        planes = zip(voxels, self._starts, strict=True)
        return np.stack([plane[j : j + rows, i : i + columns] for plane, (j, i) in planes])


def lungs_upright(segment: Callable[[CTVolume], LungMask]) -> Callable[[CTVolume], LungMask]:
    """Let a segmentation of lungs see an upright stack, whatever the volume; its mask is on the volume's own grid."""

    def on_upright(volume: CTVolume) -> LungMask:
        stack = UprightStack(volume)
        lungs = segment(stack.volume)
        return replace(lungs, labels=stack.moved_back(lungs.labels))

    return on_upright


def lesions_upright(
    find: Callable[[CTVolume, LungMask], LesionMask],
) -> Callable[[CTVolume, LungMask], LesionMask]:
    """Let a finder of lesions see an upright stack; the masks it takes and gives are on the volume's own grid."""

    def on_upright(volume: CTVolume, lungs: LungMask) -> LesionMask:
        stack = UprightStack(volume)
        lesions = find(stack.volume, replace(lungs, labels=stack.moved(lungs.labels, 0)))
        return replace(lesions, labels=stack.moved_back(lesions.labels))

    return on_upright


def _lean_pixels(affine_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many pixels along (j, i) each slice lies beside the one below."""
    in_plane = affine_lps_mm[:3, [1, 0]]
    return np.asarray(np.linalg.lstsq(in_plane, affine_lps_mm[:3, 2], rcond=None)[0])


def _without_shear(volume: CTVolume, corner_ji: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine with k along the normal, whose first voxel lies at (j, i) of the first stored slice."""
    affine = volume.affine_lps_mm.copy()
    along_i, along_j = affine[:3, 0], affine[:3, 1]
    normal = np.cross(along_i, along_j)
    affine[:3, 2] = normal / np.linalg.norm(normal) * volume.spacing_mm[0]
    affine[:3, 3] += along_j * corner_ji[0] + along_i * corner_ji[1]
    return affine
