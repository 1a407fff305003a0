"""Dense regions of the lungs: a CTVolume and its LungMask come in, a LesionMask goes to measures and to report.

By density on a coarse, smoothed grid, so that a sharp kernel's noise and a soft one's give the same regions; vessels
and airway walls are taken away by their thinness, the border of the lungs by not counting half-filled voxels.
Deterministic, needs no weights. Says how dense a region is, never why.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode import __version__
from covnode.imaging.blocks import block_mean, coarser, factors_towards, spread
from covnode.imaging.components import Mask, at_least
from covnode.imaging.morphology import Spacing, box_of, dilate, opened
from covnode.records.result import ModelIdentity
from covnode.records.volume import CTVolume, Lesion, LesionMask, LungMask

IDENTITY = ModelIdentity(
    name="covnode-density-lesions",
    version=__version__,
    task="lesions",
    sha256=None,
    training_data="none: rule-based",
    demonstration=False,
)

GRID_MM = 1.6
GROUND_GLASS_HU = -750
"""Lower border for a lung of usual inflation; raised for a poorly inflated one, see `_lower_border`."""

HIGHEST_BORDER_HU = -600
ABOVE_NORMAL_HU = 110
"""Ground glass is denser by this much than the patient's own aerated lung."""

CONSOLIDATION_HU = -300
HIGHEST_HU = 150
"""Denser than this is calcium or contrast agent in a vessel."""

SMOOTHING_MM = 1.5
RIM_MM = 2.5
"""How far half-filled voxels reach into the lung: their density tells of the chest wall, not of the lung."""

VESSEL_MM = 4.0
"""Radius of the ball that a ground-glass region holds and a vessel with its blurred border does not."""

DENSE_VESSEL_MM = 3.0
"""The same for consolidation."""

SMALLEST_ML = 0.3


def find_lesions(volume: CTVolume, lungs: LungMask) -> LesionMask:
    """Find ground glass and consolidation by density.

    Parameters
    ----------
    volume
        A chest CT on the canonical grid.
    lungs
        Its lungs, on the same grid.

    Returns
    -------
    LesionMask
        uint8 (k, j, i) on the volume's grid, 0 outside the lungs.
    """
    found = np.zeros(volume.voxels_hu.shape, dtype=np.uint8)
    if not lungs.labels.any():
        return LesionMask(found, IDENTITY)
    box = box_of(lungs.labels > 0, 0.0, volume.spacing_mm)
    factors = factors_towards(volume.spacing_mm, GRID_MM)
    spacing_mm = coarser(volume.spacing_mm, factors)
    share = block_mean((lungs.labels[box] > 0).astype(np.int16) * 100, factors)
    hu = block_mean(volume.voxels_hu[box], factors)
    lesions = _on_grid(hu, share, spacing_mm, volume.voxel_ml * float(np.prod(factors)))
    target = found[box]
    shape = target.shape[0], target.shape[1], target.shape[2]
    target[...] = spread(lesions, factors, shape, slice(None))
    target[lungs.labels[box] == 0] = 0
    return LesionMask(found, IDENTITY)


def _on_grid(
    hu: NDArray[np.int16], share: NDArray[np.int16], spacing_mm: Spacing, block_ml: float
) -> NDArray[np.uint8]:
    lung = share >= 50
    density = _smoothed(hu, lung, spacing_mm)
    dense = lung & (density > _lower_border(density[lung])) & (density < HIGHEST_HU)
    dense = _without_vessels(dense, VESSEL_MM, spacing_mm)
    dense = at_least(dense, SMALLEST_ML / block_ml)
    solid = _without_vessels(dense & (density > CONSOLIDATION_HU), DENSE_VESSEL_MM, spacing_mm)
    lesions = np.zeros(hu.shape, dtype=np.uint8)
    lesions[dense] = Lesion.GROUND_GLASS
    lesions[solid] = Lesion.CONSOLIDATION
    return lesions


def _smoothed(hu: NDArray[np.int16], lung: Mask, spacing_mm: Spacing) -> NDArray[np.float32]:
    """Density smoothed within the lung; the rim takes the density of the lung next to it."""
    weight = _inner(lung, spacing_mm).astype(np.float32)
    sigma = tuple(SMOOTHING_MM / spacing for spacing in spacing_mm)
    total = ndimage.gaussian_filter(hu * weight, sigma, truncate=3.0)
    weight = ndimage.gaussian_filter(weight, sigma, truncate=3.0)
    known = weight > 0.05
    nearest = ndimage.distance_transform_edt(~known, sampling=spacing_mm, return_distances=False, return_indices=True)
    smooth = np.where(known, total / np.maximum(weight, 0.05), 0).astype(np.float32)
    return np.asarray(smooth[tuple(nearest)])


def _inner(lung: Mask, spacing_mm: Spacing) -> Mask:
    """Leave out the rim of the lung, and the slice next to the diaphragm where slices are thick."""
    inner = ~dilate(~lung, RIM_MM, spacing_mm)
    if spacing_mm[0] > RIM_MM:
        inner[1:] &= lung[:-1]
        inner[:-1] &= lung[1:]
    return np.asarray(inner if inner.any() else lung)


def _lower_border(density: NDArray[np.float32]) -> float:
    """Where ground glass begins, in HU, from the density of this patient's own aerated lung."""
    counts, edges = np.histogram(density, bins=np.arange(-1000, -595, 10))
    normal = float(edges[int(np.argmax(counts))]) + 5
    return float(np.clip(normal + ABOVE_NORMAL_HU, GROUND_GLASS_HU, HIGHEST_BORDER_HU))


def _without_vessels(dense: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Keep the regions that hold a ball of this radius, with their border but without what runs out of them."""
    body = opened(dense, radius_mm, spacing_mm)
    return np.asarray(dense & dilate(body, radius_mm / 2, spacing_mm))
