"""Dense regions of the lungs: a CTVolume and its LungMask come in, a LesionMask goes to measures and to report.

By density on a coarse, smoothed grid, so that a sharp kernel's noise and a soft one's give the same regions; vessels
and airway walls are taken away by their thinness, the border of the lungs by not counting half-filled voxels. A lesion
ends half way between its own density and the lung's.
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
from covnode.records.volume import CTVolume, Lesion, LesionMask, Lung, LungMask

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

HIGHEST_BORDER_HU = -650
ABOVE_NORMAL_HU = 120
"""Ground glass is denser by this much than the aerated part of the same lung."""

PLATEAU_MM = 5.0
"""Half edge of the cube in which a border looks for the inside of its lesion."""

PLATEAU_HU = -500
"""Ground glass inside a lesion, at most: beside a consolidation it is not held against the consolidation."""

CONSOLIDATION_HU = -300
HIGHEST_HU = 150
"""Denser than this is calcium or contrast agent in a vessel."""

SOLID_HU = -500
"""A vessel on the coarse grid, its border half air: denser than this."""

VESSEL_MM = 4.5
"""Radius of the ball that a consolidation holds and a vessel inside the lung does not."""

HALO_MM = 1.7
"""How far a vessel blurs into the lung next to it."""

SMOOTHING_MM = 1.8
RIM_MM = 2.5
"""How far half-filled voxels reach into the lung: their density tells of the chest wall, not of the lung."""

PATCH_MM = 3.5
"""Radius of the ball that a patch of ground glass holds; what is thinner is the rest of a vessel or of noise."""

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
    factors = factors_towards(volume.spacing_mm, GRID_MM)
    spacing_mm = coarser(volume.spacing_mm, factors)
    block_ml = volume.voxel_ml * float(np.prod(factors))
    for side in Lung:
        lung = lungs.labels == side
        if not lung.any():
            continue
        box = box_of(lung, RIM_MM, volume.spacing_mm)
        lung = lung[box]
        share = block_mean(lung.astype(np.int16) * 100, factors)
        lesions = _on_grid(block_mean(volume.voxels_hu[box], factors), share, spacing_mm, block_ml)
        shape = lung.shape[0], lung.shape[1], lung.shape[2]
        found[box] |= spread(lesions, factors, shape, slice(None)) * lung
    return LesionMask(found, IDENTITY)


def _on_grid(
    hu: NDArray[np.int16], share: NDArray[np.int16], spacing_mm: Spacing, block_ml: float
) -> NDArray[np.uint8]:
    """Find the lesions of one lung on the coarse grid."""
    lung = share >= 50
    solid = lung & (hu > SOLID_HU)
    thick = opened(solid, VESSEL_MM, spacing_mm)
    thick = solid & dilate(thick, VESSEL_MM / 2, spacing_mm)
    vessels = dilate(solid & ~thick, HALO_MM, spacing_mm) & ~thick
    density = _smoothed(hu, lung, _inside(lung, spacing_mm) & ~vessels, spacing_mm)
    normal = _normal(density[lung])
    dense = lung & (density > _lower_border(normal)) & (density < HIGHEST_HU)
    dense &= dilate(opened(dense, PATCH_MM, spacing_mm), PATCH_MM / 2, spacing_mm)
    dense &= density > _half_way(density, dense, normal, spacing_mm)
    dense = at_least(dense, SMALLEST_ML / block_ml)
    lesions = np.zeros(hu.shape, dtype=np.uint8)
    lesions[dense] = Lesion.GROUND_GLASS
    lesions[dense & dilate(thick, HALO_MM, spacing_mm) & (density > CONSOLIDATION_HU)] = Lesion.CONSOLIDATION
    return lesions


def _smoothed(hu: NDArray[np.int16], lung: Mask, counted: Mask, spacing_mm: Spacing) -> NDArray[np.float32]:
    """Smooth the density of the counted voxels; all others take that of the counted ones next to them."""
    weight = (counted if counted.any() else lung).astype(np.float32)
    sigma = tuple(SMOOTHING_MM / spacing for spacing in spacing_mm)
    total = ndimage.gaussian_filter(hu * weight, sigma, truncate=3.0)
    weight = ndimage.gaussian_filter(weight, sigma, truncate=3.0)
    known = weight > 0.05
    nearest = ndimage.distance_transform_edt(~known, sampling=spacing_mm, return_distances=False, return_indices=True)
    smooth = np.where(known, total / np.maximum(weight, 0.05), 0).astype(np.float32)
    return np.asarray(smooth[tuple(nearest)])


def _inside(lung: Mask, spacing_mm: Spacing) -> Mask:
    """Leave out the rim of the lung, and at least a voxel: the slice next to the diaphragm where slices are thick."""
    inner = ~dilate(~lung, RIM_MM, spacing_mm)
    for axis, spacing in enumerate(spacing_mm):
        if spacing > RIM_MM:
            neighbours = np.ones([3 if side == axis else 1 for side in range(3)])
            inner &= ndimage.binary_erosion(lung, neighbours, border_value=1)
    return np.asarray(inner)


def _half_way(density: NDArray[np.float32], dense: Mask, normal: float, spacing_mm: Spacing) -> NDArray[np.float32]:
    """Where a lesion ends: half way between the aerated lung and the inside of the lesion, in HU.

    Blur spreads an edge to both sides, and leaves its middle where it was. The lower border alone, which faint ground
    glass needs, would grow every denser lesion by the foot of its edge.
    """
    cube = tuple(2 * round(PLATEAU_MM / spacing) + 1 for spacing in spacing_mm)
    plateau = ndimage.maximum_filter(np.where(dense, density, normal), cube)
    return np.asarray((normal + np.minimum(plateau, PLATEAU_HU)) / 2, dtype=np.float32)


def _normal(density: NDArray[np.float32]) -> float:
    """Return the density of the aerated part of this lung, in HU."""
    counts, edges = np.histogram(density, bins=np.arange(-1000, -690, 10))
    counts = np.convolve(counts, [1, 2, 3, 2, 1], mode="same")
    return float(edges[int(np.argmax(counts))]) + 5


def _lower_border(normal: float) -> float:
    """Where ground glass begins, in HU, in a lung whose aerated part is this dense."""
    return float(np.clip(normal + ABOVE_NORMAL_HU, GROUND_GLASS_HU, HIGHEST_BORDER_HU))
