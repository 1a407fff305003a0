"""Lungs without a network: a CTVolume comes in, a LungMask goes to lesions, to measures and to report.

Aerated lung by its density on a coarse grid, without the room, the table, the airway and bowel gas; parted into right
and left; dense tissue that belongs to a lung filled in; the border refined on the full grid. Deterministic, needs no
weights. Never used where a network's weights are installed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode import __version__
from covnode.imaging.blocks import Factors, block_mean, coarser, factors_towards, spread
from covnode.imaging.components import Mask, components, reached_within_slices
from covnode.imaging.morphology import Spacing, box_of, dilate, opened_in_slices
from covnode.infer.airways import find_airway
from covnode.infer.body import find_body
from covnode.infer.pleura import completed
from covnode.infer.quality import MIN_LUNGS_ML, require_lungs
from covnode.infer.sides import by_side
from covnode.records.result import ModelIdentity
from covnode.records.volume import CTVolume, LungMask

IDENTITY = ModelIdentity(
    name="covnode-density-lungs",
    version=__version__,
    task="lungs",
    sha256=None,
    training_data="none: rule-based",
    demonstration=False,
)

GRID_MM = 1.6
AERATED_HU = -300
"""Where ground glass ends: denser lung is filled in by its surroundings."""

PARTING_HU = -500
"""A bowel that thick slices blur into the lung above it is parted from it here; ground glass is let in afterwards."""

BROAD_MM = 4.0
"""Radius of a disk that ground glass holds where it fills all lung of a slice."""

INFLATED_BORDER_HU = -400
TISSUE_HU = 40
"""The border of a half-filled voxel lies halfway between the lung next to it, -850 when inflated, and soft tissue."""

WALL_MM = 2.0
GAS_HU = -955
"""The median of bowel gas lies below, that of a lung above, but for the worst emphysema."""

LARGEST_GAS_ML = 1000.0
AIR_HU = -985
"""More than a litre with a median above that of air is no gas in a bowel but a lung destroyed by emphysema."""

SMALLEST_PART_ML = 25.0
NEIGHBOURHOOD_MM = 4.0
SLAB = 16


def segment_lungs(volume: CTVolume, min_lungs_ml: float = MIN_LUNGS_ML) -> LungMask:
    """Segment both lungs by rules.

    Parameters
    ----------
    volume
        A chest CT on the canonical grid.
    min_lungs_ml
        Less in all is not taken for lungs.

    Returns
    -------
    LungMask
        uint8 (k, j, i) on the volume's grid; vessels, segmental bronchi, consolidation and tumours inside the lungs
        belong to them, the trachea, main bronchi and the mediastinum do not.

    Raises
    ------
    LungsNotFound
        When what could be lung is less than `min_lungs_ml` in all.
    """
    factors = factors_towards(volume.spacing_mm, GRID_MM)
    spacing_mm = coarser(volume.spacing_mm, factors)
    hu = block_mean(volume.voxels_hu, factors)
    block_ml = volume.voxel_ml * float(np.prod(factors))
    body = find_body(hu, spacing_mm)
    box = box_of(body, 0.0, spacing_mm)
    hu, body = hu[box], body[box]
    airway = dilate(find_airway(hu, body, spacing_mm), max(WALL_MM, *spacing_mm[1:]), spacing_mm)
    aerated = _aerated(hu, body & ~airway, spacing_mm, block_ml)
    require_lungs(aerated, block_ml, min_lungs_ml)
    labels = _labelled(hu, aerated, airway, body, spacing_mm)
    border_hu = _border_hu(hu, labels, spacing_mm)
    found = np.zeros(volume.voxels_hu.shape, dtype=np.uint8)
    k, j, i = (slice(side.start * factor, side.stop * factor) for side, factor in zip(box, factors, strict=True))
    voxels_hu = volume.voxels_hu[k, j, i]
    found[k, j, i] = _refined(voxels_hu, labels, border_hu, factors, kept=(labels > 0) & ~aerated)
    return LungMask(found, IDENTITY)


def _aerated(hu: NDArray[np.int16], inside: Mask, spacing_mm: Spacing, block_ml: float) -> Mask:
    """Find the large aerated components that are no gas."""
    found = components((hu < PARTING_HU) & inside)
    lungs: list[int] = []
    for label in found.by_size():
        part_ml = found.sizes[label] * block_ml
        if part_ml < SMALLEST_PART_ML:
            break
        if float(np.median(hu[found.labels == label])) > (GAS_HU if part_ml < LARGEST_GAS_ML else AIR_HU):
            lungs.append(label)
    kept = found.mask_of(lungs)
    others = ndimage.binary_dilation((found.labels > 0) & ~kept, ndimage.generate_binary_structure(3, 1)) & ~kept
    dense = (hu < AERATED_HU) & inside & ~others
    # From slice to slice through broad ground glass alone: the blurred border of bowel gas is thin.
    broad = components(opened_in_slices(dense, BROAD_MM, spacing_mm))
    reached = reached_within_slices(kept, dense)
    broad_reached = broad.mask_of([int(label) for label in np.unique(broad.labels[reached]) if label])
    return reached_within_slices(reached | broad_reached, dense)


def _labelled(hu: NDArray[np.int16], aerated: Mask, airway: Mask, body: Mask, spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Part aerated lung into right and left, and complete each by its dense tissue."""
    slices = aerated.any(axis=(1, 2))
    midline_i = float(np.flatnonzero(body[slices].any(axis=(0, 1))).mean())
    sides = by_side(aerated, hu, midline_i, spacing_mm)
    centre_j = float(np.argwhere(sides)[:, 1].mean())
    return completed(sides, hu, airway, (centre_j, midline_i), spacing_mm)


def _border_hu(hu: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.int16]:
    """Density of the lung's border: halfway from the lung next to it to soft tissue."""
    inner = ndimage.binary_erosion(labels > 0, iterations=2).astype(np.float32)
    sigma = tuple(NEIGHBOURHOOD_MM / spacing for spacing in spacing_mm)
    total = ndimage.gaussian_filter(hu * inner, sigma)
    weight = ndimage.gaussian_filter(inner, sigma)
    lung_hu = np.where(weight > 0.01, total / np.maximum(weight, 0.01), INFLATED_BORDER_HU * 2)
    return np.clip((lung_hu + TISSUE_HU) / 2, INFLATED_BORDER_HU, AERATED_HU + 100).astype(np.int16)


def _refined(
    voxels_hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    border_hu: NDArray[np.int16],
    factors: Factors,
    *,
    kept: Mask,
) -> NDArray[np.uint8]:
    """Move the border of the coarse labels to where the full grid shows it, slab by slab; the kept voxels stay."""
    near = ndimage.grey_dilation(labels, footprint=ndimage.generate_binary_structure(3, 1))
    core = ndimage.binary_erosion(labels > 0, border_value=1) | kept
    refined = np.zeros(voxels_hu.shape, dtype=np.uint8)
    shape = voxels_hu.shape[0], voxels_hu.shape[1], voxels_hu.shape[2]
    size = 2 * (max(factors[1:]) // 2) + 1
    for first in range(0, len(voxels_hu), SLAB):
        slab = slice(first, min(first + SLAB, len(voxels_hu)))
        side = spread(near, factors, shape, slab)
        inside = spread(core, factors, shape, slab) | (voxels_hu[slab] < spread(border_hu, factors, shape, slab))
        share = ndimage.uniform_filter((inside & (side > 0)).astype(np.uint8) * 100, size=(1, size, size))
        refined[slab] = np.where(share >= 50, side, 0)
    return refined
