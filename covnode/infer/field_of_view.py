"""The field of view, which may be a circle: what is padding around it, and whether it cuts a lung.

The quality gate asks before anything is segmented: lung that is open to the padding looks like the room to a segmenter.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.imaging.blocks import block_mean, factors_towards
from covnode.imaging.components import Mask, largest
from covnode.imaging.morphology import opened_in_slices
from covnode.records.volume import AIR_HU, CTVolume

MOST_SLICES = 16
"""Looked at, evenly spread over the series."""

GRID_MM = 3.0
TISSUE_HU = -500
"""Halfway between air and the skin."""

TABLE_MM = 6.0
"""Radius below which dense things are table tops, blankets, tubes and vessels."""

ROOM_HU = -955
"""In the mean of some millimetres room air is darker; lung, a mattress and half-filled pixels of skin are not."""

SHORTEST_MM = 12.0
"""A shorter stretch between tissue is a fold of the skin."""

_STRIDE = 4
_ROOM, _LIGHT, _PATIENT = 0, 1, 2


def find_padding(volume: CTVolume) -> Mask:
    """Find the pixels that are padding in all of every fourth slice: bool, shape (j, i)."""
    return np.asarray(volume.voxels_hu[::_STRIDE].max(axis=0) <= AIR_HU)


def spread_slices(volume: CTVolume) -> NDArray[np.intp]:
    """Return which slices stand for all: indices k, ascending."""
    count = len(volume.voxels_hu)
    return np.unique(np.linspace(0, count - 1, min(MOST_SLICES, count)).round().astype(int))


def cut_lung_cm2(volume: CTVolume) -> float:
    """Measure the area in which the edge of the field of view cuts lung, in 16 slices for all and on a grid of 3 mm.

    Along the edge of a slice, lung that is cut lies between parts of the patient, at one side: a table and a blanket
    have the room beside them or lie straight behind or in front.
    """
    slices = spread_slices(volume)
    k_mm, *plane_mm = volume.spacing_mm
    _, j, i = factors_towards((k_mm, plane_mm[0], plane_mm[1]), GRID_MM)
    hu = block_mean(volume.voxels_hu[slices], (1, j, i))
    spacing_mm = (k_mm, plane_mm[0] * j, plane_mm[1] * i)
    patient = largest(opened_in_slices(hu > TISSUE_HU, TABLE_MM, spacing_mm))
    rows, columns = _edge(find_padding(volume), (j, i))
    kinds = np.where(hu < ROOM_HU, _ROOM, _LIGHT)
    kinds[patient] = _PATIENT
    pixel_mm = float(np.sqrt(spacing_mm[1] * spacing_mm[2]))
    angle = np.arctan2(rows - rows.mean(), columns - columns.mean())
    order = np.argsort(angle, kind="stable")
    middles = [int(np.argmin(np.abs(angle[order] - middle))) for middle in (-np.pi / 2, np.pi / 2)]
    pixels = sum(_at_a_side(line, middles, SHORTEST_MM / pixel_mm) for line in kinds[:, rows[order], columns[order]])
    return pixels * pixel_mm * k_mm * len(volume.voxels_hu) / len(slices) / 100.0


def _edge(padding: Mask, factors: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns, on the coarse grid, of the outermost blocks that hold no padding."""
    j, i = factors
    high, wide = padding.shape[0] // j, padding.shape[1] // i
    whole = ~padding[: high * j, : wide * i].reshape(high, j, wide, i).any(axis=(1, 3))
    rows, columns = np.nonzero(whole & ~ndimage.binary_erosion(whole))
    return rows, columns


def _at_a_side(kinds: NDArray[np.int64], middles: list[int], shortest: float) -> int:
    """Count the light places of a closed line, in runs between the patient that hold no middle."""
    starts = np.flatnonzero(kinds != np.roll(kinds, 1))
    if len(starts) < 2:
        return 0
    sizes = np.diff([*starts, starts[0] + len(kinds)])
    runs = kinds[starts]
    cut = (runs == _LIGHT) & (np.roll(runs, 1) == _PATIENT) & (np.roll(runs, -1) == _PATIENT) & (sizes >= shortest)
    # The run before the first start is the last one: -1.
    cut[np.searchsorted(starts, middles, side="right") - 1] = False
    return int(sizes[cut].sum())
