"""Right lung or left: lungs asks for it, once it has found aerated lung.

Labels components by the side they lie on, and cuts one component that holds both lungs where they touch (the anterior
or posterior junction line). Sides are the patient's: i grows to the left.
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from covnode.imaging.components import Components, Mask, components
from covnode.imaging.morphology import Spacing, box_of, distance_to
from covnode.records.volume import Lung

BOTH_SIDES = 0.1
"""A component with this share of its voxels on either side of the midline may hold both lungs."""

SMALLER_LUNG = 0.1
"""Smallest share of both lungs' volume that the smaller one has, short of a collapse."""

ON_ITS_SIDE = 0.8
"""Share of a part on one side of the midline that tells whose it is."""

CLEAR = 0.97
"""Share of all parts that must be told so: what still holds both lungs is more than the rest."""

LINES_HU = (-700, -600, 0)
"""A junction line is a sheet brighter than this; 0 leaves all of it in, for lungs that touch without one."""

EROSIONS_MM = (1.0, 1.7, 2.5, 3.5, 5.0, 7.0, 9.0, 12.0)
"""A contact is 1 to 20 mm thick from front to back: eroding by half of it parts the lungs there."""

SURELY_BOTH = 0.35
"""With this share on either side it is no single lung that has grown over the midline after the other's removal."""

OFF_MIDLINE_MM = 35.0
"""Beyond this from the midline, lung belongs to its side even where both lungs touch widely."""


def by_side(aerated: Mask, hu: NDArray[np.int16], midline_i: float, spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Label aerated lung by the side that it belongs to.

    Parameters
    ----------
    aerated
        bool, shape (k, j, i).
    hu
        int16, same shape, Hounsfield units.
    midline_i
        Index of the middle of the body.
    spacing_mm
        (k, j, i) of the grid.

    Returns
    -------
    numpy.ndarray
        uint8, same shape: 0 or a `Lung` label.
    """
    found = components(aerated)
    share_left = _share_left(found, midline_i)
    side_of = np.where(share_left > 0.5, Lung.LEFT, Lung.RIGHT).astype(np.uint8)
    side_of[0] = 0
    labels: NDArray[np.uint8] = side_of[found.labels]
    for label in found.by_size():
        if (
            BOTH_SIDES < share_left[label] < 1 - BOTH_SIDES
            and found.sizes[label] > SMALLER_LUNG * found.sizes[1:].sum()
        ):
            joined = found.labels == label
            box = box_of(joined, 0.0, spacing_mm)
            middle_i = midline_i - box[2].start
            cores = _cores(joined[box], hu[box], middle_i, spacing_mm)
            if cores is None and SURELY_BOTH < share_left[label] < 1 - SURELY_BOTH:
                cores = _far_from(middle_i, joined[box], spacing_mm)
            if cores is not None:
                labels[box][joined[box]] = _flooded(joined[box], hu[box], cores)[joined[box]]
    return labels


def _cores(joined: Mask, hu: NDArray[np.int16], middle_i: float, spacing_mm: Spacing) -> tuple[Mask, Mask] | None:
    """Find the cores of the right and of the left lung in one component, or None where eroding does not part them."""
    depths = [distance_to(~(joined & (hu < line)), spacing_mm) for line in LINES_HU]
    for erosion, depth in itertools.product(EROSIONS_MM, depths):
        cores = components(depth > erosion)
        share_left = _share_left(cores, middle_i)
        on_right, on_left = share_left < 1 - ON_ITS_SIDE, share_left > ON_ITS_SIDE
        on_right[0] = on_left[0] = False
        total, right, left = cores.sizes[1:].sum(), cores.sizes[on_right].sum(), cores.sizes[on_left].sum()
        if min(right, left) > SMALLER_LUNG * total and right + left > CLEAR * total:
            return on_right[cores.labels], on_left[cores.labels]
    return None


def _share_left(found: Components, middle_i: float) -> NDArray[np.float64]:
    """Which share of each component's voxels lies to the left of the midline."""
    on_left = np.arange(found.labels.shape[2]) > middle_i
    voxels = np.bincount(found.labels[:, :, on_left].ravel(), minlength=len(found.sizes))
    return np.asarray(voxels / np.maximum(found.sizes, 1))


def _far_from(midline_i: float, joined: Mask, spacing_mm: Spacing) -> tuple[Mask, Mask]:
    """Take as cores what lies well to the right and well to the left of the midline."""
    off_mm = (np.arange(joined.shape[2]) - midline_i) * spacing_mm[2]
    return joined & (off_mm < -OFF_MIDLINE_MM), joined & (off_mm > OFF_MIDLINE_MM)


def _flooded(joined: Mask, hu: NDArray[np.int16], cores: tuple[Mask, Mask]) -> NDArray[np.uint8]:
    """Flood both lungs from their cores through the darkest voxels first: they meet on the bright junction line."""
    markers = np.zeros(joined.shape, dtype=np.int8)
    markers[cores[0]], markers[cores[1]] = Lung.RIGHT, Lung.LEFT
    return np.asarray(watershed(hu, markers, mask=joined), dtype=np.uint8)  # type: ignore[no-untyped-call]  # has no types
