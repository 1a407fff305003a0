"""The trachea and the main bronchi: lungs asks for them, to leave them out.

From the coarse grid of lungs; finds the trachea as a chain of round dark spots near the middle of the body, grows the
tree from it as far as it does not leak, and keeps the wide branches. Never looks at a network or a file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.imaging.components import Mask, components
from covnode.imaging.morphology import Spacing, dilate, opened

LUMEN_HU = -880
"""Denser than the air of a trachea blurred by a coarse grid and a thick slice, thinner than aerated lung nearby."""

LUMEN_MM2 = (50.0, 900.0)
"""Lumen of an adult trachea: 10 to 27 mm across, and somewhat more where the carina widens it."""

OFF_CENTRE_MM = 50.0
"""How far masses, goitres and scoliosis push a trachea away from the middle of the body."""

SHORTEST_MM = 25.0
"""A shorter chain of round spots is an oesophagus, a bulla or bowel."""

THRESHOLDS_HU = tuple(range(-960, -740, 20))
LARGEST_TREE_ML = 140.0
"""Trachea and bronchi of an adult hold 40 to 120 ml; more has leaked into a lung."""

LEAK_ML = 25.0
"""Growth from one threshold to the next beyond which the wall has been broken through."""

WIDE_MM = 2.5
"""Radius of the darkest part of the branches to leave out: trachea, main and intermediate bronchi. Others are lung."""


@dataclass(frozen=True)
class _Spot:
    k: int
    label: int
    centre: tuple[float, float]


def find_airway(hu: NDArray[np.int16], body: Mask, spacing_mm: Spacing) -> Mask:
    """Find the lumen of the trachea and of the main bronchi.

    Parameters
    ----------
    hu
        int16, shape (k, j, i), Hounsfield units on a grid of about 1.5 mm in the plane.
    body
        The patient with all air inside, same shape.
    spacing_mm
        (k, j, i) of the grid.

    Returns
    -------
    numpy.ndarray
        bool, same shape; empty when no trachea is in the volume.
    """
    trachea = _trachea(hu, body, spacing_mm)
    if not trachea.any():
        return trachea
    tree = _grown(hu, body, trachea, spacing_mm)
    wide = opened(tree, WIDE_MM, spacing_mm) | trachea
    return np.asarray(tree & dilate(wide, min(spacing_mm[1:]) * 1.5, spacing_mm))


def _trachea(hu: NDArray[np.int16], body: Mask, spacing_mm: Spacing) -> Mask:
    labels = np.zeros(hu.shape, dtype=np.int32)
    spots: list[list[_Spot]] = []
    offset = 0
    for k in range(hu.shape[0]):
        found, count = ndimage.label((hu[k] < LUMEN_HU) & body[k])
        spots.append(_round_spots(found, count, body[k], spacing_mm, k, offset))
        labels[k] = np.where(found > 0, found + offset, 0)
        offset += count
    chain = _longest_chain(spots, labels)
    if len(chain) * spacing_mm[0] < SHORTEST_MM or len(chain) < 2:
        return np.zeros(hu.shape, dtype=bool)
    mask = np.zeros(hu.shape, dtype=bool)
    for spot in chain:
        mask[spot.k] = labels[spot.k] == spot.label
    return mask


def _round_spots(
    found: NDArray[np.int32], count: int, body: NDArray[np.bool_], spacing_mm: Spacing, k: int, offset: int
) -> list[_Spot]:
    if count == 0:
        return []
    middle = float(np.flatnonzero(body.any(axis=0)).mean())
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    areas = np.bincount(found.ravel(), minlength=count + 1) * pixel_mm2
    spots = []
    for label, box in enumerate(ndimage.find_objects(found), start=1):
        if not LUMEN_MM2[0] <= areas[label] <= LUMEN_MM2[1]:
            continue
        height = (box[0].stop - box[0].start) * spacing_mm[1]
        width = (box[1].stop - box[1].start) * spacing_mm[2]
        centre = (box[0].start + box[0].stop - 1) / 2, (box[1].start + box[1].stop - 1) / 2
        is_round = areas[label] > 0.5 * height * width and max(height, width) < 2.2 * min(height, width)
        if is_round and abs(centre[1] - middle) * spacing_mm[2] < OFF_CENTRE_MM:
            spots.append(_Spot(k, label + offset, centre))
    return spots


def _longest_chain(spots: list[list[_Spot]], labels: NDArray[np.int32]) -> list[_Spot]:
    """Follow overlapping spots from slice to slice; the longest chain wins, the most superior among equals."""
    best: dict[int, list[_Spot]] = {}
    longest: list[_Spot] = []
    for k, here in enumerate(spots):
        below = {spot.label for spot in spots[k - 1]} if k else set()
        for spot in here:
            under = np.unique(labels[k - 1][labels[k] == spot.label]) if below else np.array([], dtype=np.int32)
            chains = [best[label] for label in under.tolist() if label in below]
            chain = [*max(chains, key=len, default=[]), spot]
            best[spot.label] = chain
            if len(chain) >= len(longest):
                longest = chain
    return longest


def _grown(hu: NDArray[np.int16], body: Mask, trachea: Mask, spacing_mm: Spacing) -> Mask:
    """Raise the threshold for as long as the region that holds the trachea stays a tree and floods no lung."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    tree = trachea
    for threshold in THRESHOLDS_HU:
        order = components(((hu < threshold) & body) | trachea)
        labels = np.unique(order.labels[trachea])
        volume_ml = float(order.sizes[labels].sum()) * voxel_ml
        grown_ml = volume_ml - float(tree.sum()) * voxel_ml
        if volume_ml > LARGEST_TREE_ML or (threshold > LUMEN_HU and grown_ml > LEAK_ML):
            break
        tree = tree | order.mask_of([int(label) for label in labels])
    return tree
