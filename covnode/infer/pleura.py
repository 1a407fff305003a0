"""What belongs to a lung although it holds no air: consolidation, tumours, vessels. lungs asks for it.

Works on the coarse grid. Fills what is enclosed; gaps too narrow for a ball (hilar vessels, fissures); dense tissue
between stretches of the same lung; and pits of the costal surface, where the lung around a dense region reaches the
chest wall and the region itself keeps it away. The diaphragm and what lies on it have no lung below, the mediastinum
has none on its other side, and organs are thicker than most consolidations. What rules cannot tell: an effusion
between two stretches of aerated lung is filled; a consolidation that lies on the diaphragm with no air below, or that
is as thick as an organ, is left out.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.imaging.components import Mask, holes, small_in_slices
from covnode.imaging.morphology import Spacing, closed, dilate, opened, opened_in_slices
from covnode.infer.cage import CostalSurface, Rays, cage, costal_surface
from covnode.records.volume import Lung

GAP_MM = 7.0
"""Radius of the ball that closes gaps: segmental vessels and bronchi with their walls are below 14 mm."""

BETWEEN_MM = 80.0
"""Dense tissue sees its own lung within this on either side; across a lobe it is 60 to 120 mm."""

SMOOTH_MM = 3.0
"""Radius below which what was found line by line is a streak, not tissue."""

HILUM_MM = 18.0
"""Around the main bronchi: the hilar arteries, veins and nodes, where small dense things are vessels."""

HILAR_VESSEL_MM = 11.0
"""Radius of a hilar artery; a mass or a consolidation at the hilum holds a larger ball."""

DEEPEST_PIT_MM = 90.0

BRONCHUS_MM2 = 120.0
"""A lobar bronchus with its wall, cut across: enclosed by lung in a slice, it belongs to it."""

SOFT_TISSUE_HU = (-600, 180)
"""What may be filled: neither bone nor air, for it is not the lung's wall nor a gas-filled bowel."""

FAT_HU = (-160, -30)
FAT_MM = 3.0
"""Radius of a disk that pericardial fat holds, and the blurred border of a consolidation does not."""

ORGAN_MM = 30.0
"""Radius of a ball that heart, liver and spleen hold and most consolidations do not."""


def completed(
    sides: NDArray[np.uint8], hu: NDArray[np.int16], airway: Mask, centre_ji: tuple[float, float], spacing_mm: Spacing
) -> NDArray[np.uint8]:
    """Add to the aerated lungs the dense tissue that belongs to them.

    Parameters
    ----------
    sides
        uint8, shape (k, j, i): aerated lung, 0 or a `Lung` label.
    hu
        int16, same shape, Hounsfield units.
    airway
        bool, same shape: trachea and main bronchi with their walls.
    centre_ji
        (j, i) between both lungs, from where the costal surface is seen.
    spacing_mm
        (k, j, i) of the grid.

    Returns
    -------
    numpy.ndarray
        uint8, same shape: the labels of ``sides``, and more.
    """
    rays = Rays.around(sides.shape, centre_ji, spacing_mm)
    surfaces = {side: costal_surface(sides == side, rays, spacing_mm) for side in Lung}
    organs = opened(cage(list(surfaces.values()), rays) & (sides == 0), ORGAN_MM, spacing_mm)
    soft = (hu > SOFT_TISSUE_HU[0]) & (hu < SOFT_TISSUE_HU[1]) & ~organs
    soft &= ~opened_in_slices((hu > FAT_HU[0]) & (hu < FAT_HU[1]), FAT_MM, spacing_mm)
    hilum = dilate(airway, HILUM_MM, spacing_mm)
    labels = sides.copy()
    for side, surface in surfaces.items():
        if surface.outermost.any():
            lung = sides == side
            tissue = _tissue(lung, soft, hilum, _pits(surface, rays), spacing_mm)
            labels[_filled(lung | tissue, airway, spacing_mm) & (labels == 0)] = side
    return labels


def _pits(surface: CostalSurface, rays: Rays) -> Mask:
    """Find what lies between the lung and its closed costal surface."""
    begin = np.maximum(surface.thickness_from, surface.surface - DEEPEST_PIT_MM)
    return rays.within(surface.surface) & ~rays.within(begin)


def _tissue(lung: Mask, soft: Mask, hilum: Mask, pits: Mask, spacing_mm: Spacing) -> Mask:
    pits = pits & soft
    added = pits | (between(lung | pits, spacing_mm) & soft)
    central = hilum & ~opened(added, HILAR_VESSEL_MM, spacing_mm)
    added &= ~lung & ~central
    return opened(lung | added, SMOOTH_MM, spacing_mm) & added


def _filled(lung: Mask, airway: Mask, spacing_mm: Spacing) -> Mask:
    """Close narrow gaps and fill what is enclosed in space, in a coronal plane, or as a bronchus in a slice."""
    whole = closed(lung, GAP_MM, spacing_mm)
    for axis in (None, 1):
        whole |= holes(whole, axis)
    whole &= ~airway
    return whole | small_in_slices(holes(whole, 0), BRONCHUS_MM2 / (spacing_mm[1] * spacing_mm[2]))


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
