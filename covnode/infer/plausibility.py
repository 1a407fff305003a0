"""Whether what was segmented can be lungs: the segmenters refuse here, and the report takes its cautions from here.

Looks at a CTVolume, its LungMask and its Measures; changes none of them.
"""

import numpy as np
from numpy.typing import NDArray

from covnode.errors import LungsNotFound
from covnode.infer.measures import Measures
from covnode.records.volume import CTVolume, LungMask

SMALLEST_LUNGS_ML = 500.0
"""Both lungs of an adult hold 1.5 l at full expiration and no less than 0.5 l with most of them consolidated."""

USUAL_LUNGS_ML = (1500.0, 9000.0)
"""From full expiration of a small adult to full inspiration of a tall one with emphysema."""

MISSING_SHARE = 0.1
"""The smaller lung holds 40 to 50 % of both; below a tenth it is removed, collapsed, or was not found."""

CUT_AREA_CM2 = 20.0
"""Lung in an end slice: apex and costophrenic recess taper to less than this before they end."""

THICK_SLICE_MM = 5.0
"""Beyond this, vessels, small lesions and the diaphragm blur into their surroundings."""


def require_lungs(labels: NDArray[np.uint8] | NDArray[np.bool_], voxel_ml: float) -> None:
    """Refuse a mask that holds too little to be lungs.

    Raises
    ------
    LungsNotFound
        Below `SMALLEST_LUNGS_ML` in all.
    """
    found_ml = np.count_nonzero(labels) * voxel_ml
    if found_ml < SMALLEST_LUNGS_ML:
        raise LungsNotFound(f"no lungs: {found_ml:.0f} ml found, at least {SMALLEST_LUNGS_ML:.0f} ml expected")


def cautions(volume: CTVolume, lungs: LungMask, measures: Measures) -> tuple[str, ...]:
    """Write a sentence for the report on each thing that makes the figures less certain.

    Parameters
    ----------
    volume, lungs
        On one grid.
    measures
        Counted on them.
    """
    return (*_volumes(measures), *_cut(volume, lungs), *_slices(volume))


def _volumes(measures: Measures) -> list[str]:
    found = []
    total, left, right = (
        value or 0.0
        for value in (measures.lung_volume_ml.total, measures.lung_volume_ml.left, measures.lung_volume_ml.right)
    )
    for name, lung in (("left", left), ("right", right)):
        if lung < MISSING_SHARE * total:
            found.append(
                f"The {name} lung was hardly found ({lung:.0f} ml of {total:.0f} ml): absent, collapsed or missed."
            )
    if total < USUAL_LUNGS_ML[0]:
        found.append(f"The lungs hold {total:.0f} ml in all, unusually little: expiration, or not all was found.")
    if total > USUAL_LUNGS_ML[1]:
        found.append(f"The lungs hold {total:.0f} ml in all, unusually much: the segmentation may have leaked.")
    return found


def _cut(volume: CTVolume, lungs: LungMask) -> list[str]:
    found = []
    pixel_cm2 = volume.spacing_mm[1] * volume.spacing_mm[2] / 100.0
    for k, slice_name, place in ((-1, "most superior", "apex"), (0, "most inferior", "base")):
        area_cm2 = np.count_nonzero(lungs.labels[k]) * pixel_cm2
        if area_cm2 > CUT_AREA_CM2:
            found.append(
                f"The {slice_name} slice shows {area_cm2:.0f} cm2 of lung: the {place} may lie outside of the series."
            )
    edges = lungs.labels[:, [0, -1], :].any() or lungs.labels[:, :, [0, -1]].any()
    if edges:
        found.append("Lung reaches the edge of the field of view: a part of it may lie outside of the images.")
    return found


def _slices(volume: CTVolume) -> list[str]:
    thickness_mm = max(volume.acquisition.slice_thickness_mm or 0.0, volume.spacing_mm[0])
    if thickness_mm <= THICK_SLICE_MM:
        return []
    kernel = volume.acquisition.convolution_kernel
    of_kernel = f", kernel {kernel}" if kernel else ""
    return [f"Thick slices ({thickness_mm:.1f} mm{of_kernel}): small lesions and the lung's border are less certain."]
