"""What belongs to a lung although it holds no air: consolidation, tumours, vessels. lungs asks for it.

Three fillings on the coarse grid: enclosed voxels; gaps too narrow for a ball (hilar vessels, fissures); and pits of
the costal surface, where lung around a dense region reaches the chest wall and the region itself keeps it away. The
diaphragm and the mediastinum are open downwards and towards the middle, hence no pits. An effusion between two
stretches of aerated lung is filled too: rules cannot tell it from a consolidation.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.imaging.components import Mask, holes
from covnode.imaging.morphology import Spacing, closed

GAP_MM = 7.0
"""Radius of the ball that closes gaps: segmental vessels and bronchi with their walls are below 14 mm."""

PIT_MM = 110.0
"""A dense region narrower than this along the chest wall, upwards or around, is a pit."""

DEEPEST_PIT_MM = 90.0

SOFT_TISSUE_HU = (-600, 180)
"""What a pit may be filled with: neither bone nor air, for it is not the lung's wall nor a gas-filled bowel."""

_RAYS = 360


def filled(lung: Mask, hu: NDArray[np.int16], centre_ji: tuple[float, float], spacing_mm: Spacing) -> Mask:
    """Aerated lung of one side with the dense tissue that belongs to it.

    Parameters
    ----------
    lung
        bool, shape (k, j, i): aerated voxels of one lung.
    hu
        int16, same shape, Hounsfield units.
    centre_ji
        (j, i) between both lungs, from where the costal surface is seen.
    spacing_mm
        (k, j, i) of the grid.
    """
    soft = (hu > SOFT_TISSUE_HU[0]) & (hu < SOFT_TISSUE_HU[1])
    whole = lung | (costal_pits(lung, centre_ji, spacing_mm) & soft)
    whole = closed(whole, GAP_MM, spacing_mm)
    for axis in (None, 1):
        whole |= holes(whole, axis)
    return whole


def costal_pits(lung: Mask, centre_ji: tuple[float, float], spacing_mm: Spacing) -> Mask:
    """Voxels behind the lung, seen from between the lungs, where the lung around them reaches farther out."""
    height = lung.shape[0]
    j = (np.arange(lung.shape[1]) - centre_ji[0]) * spacing_mm[1]
    i = (np.arange(lung.shape[2]) - centre_ji[1]) * spacing_mm[2]
    radius = np.hypot(j[:, None], i[None, :]).astype(np.float32)
    ray = np.floor((np.arctan2(j[:, None], i[None, :]) / (2 * np.pi) + 0.5) * _RAYS).astype(np.int32) % _RAYS
    outermost = np.zeros((height, _RAYS), dtype=np.float32)
    for k in range(height):
        np.maximum.at(outermost[k], ray[lung[k]], radius[lung[k]])
    if not outermost.any():
        return np.zeros_like(lung)
    typical = float(np.median(outermost[outermost > 0]))
    window = (
        max(1, round(PIT_MM / spacing_mm[0])),
        max(1, round(np.degrees(PIT_MM / typical) * _RAYS / 360)),
    )
    outermost = ndimage.grey_closing(outermost, size=(1, 3), mode=("constant", "wrap"))
    surface = ndimage.grey_closing(outermost, size=window, mode=("constant", "wrap"))
    pit = (outermost > 0) & (surface > outermost) & (surface - outermost < DEEPEST_PIT_MM)
    outer = np.where(pit, surface, 0)[:, ray]
    return np.asarray((radius > outermost[:, ray]) & (radius <= outer))
