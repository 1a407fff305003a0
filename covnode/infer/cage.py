"""The costal surface of the lungs, seen from between them: pleura asks for it to find what the lungs go around.

Every slice is cut into rays from one centre. Along a ray lie the innermost and the outermost voxel of a lung; closing
the outermost ones over angle and height gives the inner face of the chest wall, wherever lung around a dense region
reaches it. Works on the coarse grid of lungs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from covnode.imaging.components import Mask
from covnode.imaging.morphology import Spacing

PIT_MM = 110.0
"""A dense region narrower than this along the chest wall, upwards or around, is bridged."""

MIDDLE_DEGREES = 100
"""Sternum and spine part the costal surfaces of both lungs by less than this."""

NEIGHBOUR_MM = 25.0

_RAYS = 360
_CROSS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
_Profile = NDArray[np.float32]


@dataclass(frozen=True)
class Rays:
    """The pixels of a slice as seen from the centre.

    Attributes
    ----------
    radius_mm
        float32, shape (j, i): distance from the centre.
    number
        int32, shape (j, i): which ray.
    """

    radius_mm: _Profile
    number: NDArray[np.int32]

    @classmethod
    def around(cls, shape: tuple[int, ...], centre_ji: tuple[float, float], spacing_mm: Spacing) -> "Rays":
        """Look from (j, i) of the centre at a grid of shape (k, j, i)."""
        j = ((np.arange(shape[1]) - centre_ji[0]) * spacing_mm[1])[:, None]
        i = ((np.arange(shape[2]) - centre_ji[1]) * spacing_mm[2])[None, :]
        turn = np.arctan2(j, i) / (2 * np.pi) + 0.5
        return cls(np.hypot(j, i).astype(np.float32), np.floor(turn * _RAYS).astype(np.int32) % _RAYS)

    def within(self, profile: _Profile) -> Mask:
        """Find the voxels that are nearer than a profile of shape (k, rays) in mm."""
        return np.asarray(self.radius_mm <= profile[:, self.number])


@dataclass(frozen=True)
class CostalSurface:
    """One lung along the rays: float32, shape (k, rays), mm from the centre.

    Attributes
    ----------
    outermost
        Of the lung's voxels; 0 on a ray without lung.
    thickness_from
        Where dense tissue on the ray may begin: the outermost lung, or as deep as the lung around, on average.
    surface
        The closed costal surface; 0 where the lung does not reach.
    """

    outermost: _Profile
    thickness_from: _Profile
    surface: _Profile


def costal_surface(lung: Mask, rays: Rays, spacing_mm: Spacing) -> CostalSurface:
    """Measure the costal surface of one lung, bool (k, j, i)."""
    outer = np.zeros((len(lung), _RAYS), dtype=np.float32)
    inner = np.full((len(lung), _RAYS), np.inf, dtype=np.float32)
    for k in np.flatnonzero(lung.any(axis=(1, 2))):
        numbers, radii = rays.number[lung[k]], rays.radius_mm[lung[k]]
        np.maximum.at(outer[k], numbers, radii)
        np.minimum.at(inner[k], numbers, radii)
    seen = outer > 0
    rays_per_mm = _RAYS / (2 * np.pi * float(np.median(outer[seen]))) if seen.any() else 1.0
    window = max(1, round(PIT_MM / spacing_mm[0])), max(1, round(PIT_MM * rays_per_mm))
    surface = ndimage.grey_closing(outer, size=window, mode=("constant", "wrap"))
    # Seen from a centre a flat wall looks hollow: the hull of the lung in the slices around says how far it is flat.
    hull = ndimage.maximum_filter1d(_hull(outer), window[0], axis=0, mode="constant")
    surface = np.maximum(outer, np.minimum(surface, hull))
    sigma = NEIGHBOUR_MM / spacing_mm[0], NEIGHBOUR_MM * rays_per_mm
    share = ndimage.gaussian_filter(seen.astype(np.float32), sigma, mode=("nearest", "wrap"))
    nearby = ndimage.gaussian_filter(np.where(seen, inner, 0), sigma, mode=("nearest", "wrap"))
    # Without lung farther down on the same ray it is the liver or the spleen that touches the chest wall.
    half = max(1, round(PIT_MM / 2 / spacing_mm[0]))
    lung_below = ndimage.maximum_filter1d(seen.view(np.uint8), 2 * half + 1, axis=0, origin=half, mode="constant") > 0
    nearby = np.where((share > 0.1) & lung_below, nearby / np.maximum(share, 0.1), np.inf)
    return CostalSurface(outer, np.where(seen, outer, nearby).astype(np.float32), surface)


def _hull(outer: _Profile) -> _Profile:
    """Measure the convex hull of the outermost voxels of each slice along the rays."""
    angles = (np.arange(_RAYS) + 0.5) * (2 * np.pi / _RAYS)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    hull = np.zeros_like(outer)
    for k, profile in enumerate(outer):
        seen = profile > 0
        if not seen.any():
            continue
        points = (directions * profile).T[seen]
        # Points around the first one, so that even points on one line have a hull.
        *normals, offsets = ConvexHull(np.concatenate([points, points[:1] + 0.5 * _CROSS])).equations.T
        towards = np.array(normals).T @ directions
        with np.errstate(divide="ignore"):
            reach = np.where(towards > 0, -offsets[:, None] / towards, np.inf).min(axis=0)
        hull[k] = np.clip(reach, 0, None)
    return hull


def cage(surfaces: list[CostalSurface], rays: Rays) -> Mask:
    """Find what the costal surfaces of both lungs go around; all of it where no lung reaches the chest wall."""
    around = np.max([side.surface for side in surfaces], axis=0)
    around = ndimage.grey_closing(around, size=(1, MIDDLE_DEGREES * _RAYS // 360), mode=("constant", "wrap"))
    return rays.within(np.where(around > 0, around, np.inf).astype(np.float32))
