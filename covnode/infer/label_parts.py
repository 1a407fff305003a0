"""A network's labels made whole: each label in one piece, what is scattered given to the neighbour it touches most.

Called by r231. Gives what lungmask 0.2.20 makes of the same labels, looking only where a part lies instead of at all
of the volume for each of them.
"""

from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.imaging.components import Mask, holes

SMALLEST_VOXELS = 3
"""Parts with fewer voxels are not given to a neighbour."""

_EVERY_NEIGHBOUR: Final = 26

Box = list[slice]


@dataclass
class _Part:
    """Voxels of one label that hang together, corners included."""

    label: int
    voxels: int
    box: Box


def in_one_piece(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest part of each label, give it the smaller parts that touch it most, and fill its holes.

    Parameters
    ----------
    labels
        Shape (k, j, i); 0 is background.
    """
    numbers, parts = _parts(labels)
    meaning = _merge(numbers, parts)
    merged = meaning[numbers]
    whole = np.zeros_like(labels)
    for label in np.unique(merged)[1:]:
        mask = _largest(merged == label)
        whole[mask | holes(mask)] = label
    return whole


def _parts(labels: NDArray[np.uint8]) -> tuple[NDArray[np.unsignedinteger], dict[int, _Part]]:
    """Give each part a number, in the order of their first voxels."""
    numbers = cc3d.connected_components(labels, connectivity=_EVERY_NEIGHBOUR)
    found = cc3d.statistics(numbers, no_slice_conversion=False)
    first = np.zeros(len(found["voxel_counts"]), dtype=np.uint8)
    first[numbers.ravel()] = labels.ravel()
    parts = {
        number: _Part(int(first[number]), int(found["voxel_counts"][number]), list(found["bounding_boxes"][number]))
        for number in range(1, len(first))
    }
    return numbers, parts


def _merge(numbers: NDArray[np.unsignedinteger], parts: dict[int, _Part]) -> NDArray[np.uint8]:
    """Renumber each part but the largest of its label to the neighbour it touches most; return each number's label.

    From the smallest part to the largest, each with all that was given to it before.
    """
    by_size = sorted(parts, key=lambda number: parts[number].voxels)
    meaning = np.zeros(len(parts) + 1, dtype=np.uint8)
    largest: dict[int, int] = {}
    for number in by_size:
        part = parts[number]
        if part.voxels > largest.get(part.label, 0):
            largest[part.label] = part.voxels
            meaning[number] = part.label
    for number in by_size:
        part = parts[number]
        if SMALLEST_VOXELS <= part.voxels < largest[part.label]:
            _give_away(numbers, parts, number, largest)
    return meaning


def _give_away(
    numbers: NDArray[np.unsignedinteger], parts: dict[int, _Part], number: int, largest: dict[int, int]
) -> None:
    part = parts[number]
    around = numbers[tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in part.box)]
    mine = around == number
    touched, voxels = np.unique(around[ndimage.binary_dilation(mine)], return_counts=True)
    voxels[(touched == 0) | (touched == number)] = 0
    if not voxels.any():
        return
    taker = parts[int(touched[voxels.argmax()])]
    around[mine] = touched[voxels.argmax()]
    if taker.voxels == largest[taker.label]:
        largest[taker.label] += part.voxels
    taker.voxels += part.voxels
    taker.box = [
        slice(min(own.start, other.start), max(own.stop, other.stop))
        for own, other in zip(taker.box, part.box, strict=True)
    ]


def _largest(mask: Mask) -> Mask:
    numbers = cc3d.connected_components(mask, connectivity=_EVERY_NEIGHBOUR)
    return np.asarray(numbers == np.argmax(np.bincount(numbers.ravel())[1:]) + 1)
