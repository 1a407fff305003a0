"""What belongs to a lung although it holds no air: consolidation, tumours, vessels. lungs asks for it.

Works on the coarse grid, one lung a call. Fills what is enclosed; gaps too narrow for a ball (hilar vessels, fissures);
dense tissue between stretches of the same lung; and pits of the costal surface, where the lung around a dense region
reaches the chest wall and the region itself keeps it away. The diaphragm and what lies on it have no lung below, the
mediastinum has none on its other side. What rules cannot tell: an effusion between two stretches of aerated lung is
filled, a consolidation that lies on the diaphragm with no air below is left out.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.imaging.components import Mask, holes
from covnode.imaging.morphology import Spacing, closed, opened

GAP_MM = 7.0
"""Radius of the ball that closes gaps: segmental vessels and bronchi with their walls are below 14 mm."""

BETWEEN_MM = 80.0
"""Dense tissue sees its own lung within this on either side; across a lobe it is 60 to 120 mm."""

SMOOTH_MM = 3.0
"""Radius below which what was found line by line is a streak, not tissue."""

PIT_MM = 110.0
"""A dense region narrower than this along the chest wall, upwards or around, is a pit."""

DEEPEST_PIT_MM = 90.0
NEIGHBOUR_MM = 25.0

HILAR_VESSEL_MM = 11.0
"""Radius of a hilar artery; a mass or a consolidation at the hilum holds a larger ball."""

_RAYS = 360


def filled(lung: Mask, soft: Mask, hilum: Mask, centre_ji: tuple[float, float], spacing_mm: Spacing) -> Mask:
    """Add to the aerated lung of one side the dense tissue that belongs to it.

    Parameters
    ----------
    lung
        bool, shape (k, j, i): aerated voxels of one lung.
    soft
        bool, same shape: what may be filled.
    hilum
        bool, same shape: surroundings of the main bronchi, where small dense things are vessels.
    centre_ji
        (j, i) between both lungs, from where the costal surface is seen.
    spacing_mm
        (k, j, i) of the grid.
    """
    pits = costal_pits(lung, centre_ji, spacing_mm) & soft
    added = pits | (between(lung | pits, spacing_mm) & soft)
    central = hilum & ~opened(added, HILAR_VESSEL_MM, spacing_mm)
    added &= ~lung & ~central
    whole = lung | (opened(lung | added, SMOOTH_MM, spacing_mm) & added)
    whole = closed(whole, GAP_MM, spacing_mm)
    for axis in (None, 1):
        whole |= holes(whole, axis)
    return whole


def between(lung: Mask, spacing_mm: Spacing) -> Mask:
    """Find voxels with lung below, and with lung on either side along two of the three axes, all of it near.

    Lung below is asked for because liver, heart and spleen have lung around and above them, never below.
    """
    spans = [max(1, round(BETWEEN_MM / spacing)) for spacing in spacing_mm]
    before = [_seen(lung, axis, span, towards=-1) for axis, span in enumerate(spans)]
    after = [_seen(lung, axis, span, towards=1) for axis, span in enumerate(spans)]
    sides = sum((low & high).astype(np.uint8) for low, high in zip(before, after, strict=True))
    return np.asarray((sides >= 2) & before[0] & ~lung)


def _seen(lung: Mask, axis: int, span: int, *, towards: int) -> Mask:
    """Find voxels with lung within a span in one direction along an axis."""
    half = max(1, span // 2)
    seen = ndimage.maximum_filter1d(
        lung.view(np.uint8), 2 * half + 1, axis=axis, origin=-towards * half, mode="constant"
    )
    return np.asarray(seen > 0)


def costal_pits(lung: Mask, centre_ji: tuple[float, float], spacing_mm: Spacing) -> Mask:
    """Find voxels that the lung around them reaches, seen from between the lungs, and the lung before them does not.

    Every ray of a slice has an outermost and an innermost voxel of lung. Closing the outermost ones over angle and
    height gives the costal surface. A ray without any lung is taken to be as thick as its neighbours.
    """
    radius, ray = _polar(lung.shape, centre_ji, spacing_mm)
    outer = np.zeros((len(lung), _RAYS), dtype=np.float32)
    inner = np.full((len(lung), _RAYS), np.inf, dtype=np.float32)
    for k in np.flatnonzero(lung.any(axis=(1, 2))):
        np.maximum.at(outer[k], ray[lung[k]], radius[lung[k]])
        np.minimum.at(inner[k], ray[lung[k]], radius[lung[k]])
    seen = outer > 0
    if not seen.any():
        return np.zeros_like(lung)
    degrees = float(np.degrees(1.0 / np.median(outer[seen]))) * _RAYS / 360
    window = max(1, round(PIT_MM / spacing_mm[0])), max(1, round(PIT_MM * degrees))
    surface = ndimage.grey_closing(outer, size=window, mode=("constant", "wrap"))
    sigma = NEIGHBOUR_MM / spacing_mm[0], NEIGHBOUR_MM * degrees
    share = ndimage.gaussian_filter(seen.astype(np.float32), sigma, mode=("nearest", "wrap"))
    nearby = ndimage.gaussian_filter(np.where(seen, inner, 0), sigma, mode=("nearest", "wrap")) / np.maximum(
        share, 0.01
    )
    start = np.where(seen, outer, np.where(share > 0.1, nearby, np.inf))
    start = np.maximum(start, surface - DEEPEST_PIT_MM)
    return np.asarray((radius > start[:, ray]) & (radius <= surface[:, ray]))


def _polar(
    shape: tuple[int, ...], centre_ji: tuple[float, float], spacing_mm: Spacing
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Distance from the centre in mm and number of the ray, for each pixel of a slice."""
    j = ((np.arange(shape[1]) - centre_ji[0]) * spacing_mm[1])[:, None]
    i = ((np.arange(shape[2]) - centre_ji[1]) * spacing_mm[2])[None, :]
    ray = np.floor((np.arctan2(j, i) / (2 * np.pi) + 0.5) * _RAYS).astype(np.int32) % _RAYS
    return np.hypot(j, i).astype(np.float32), ray
