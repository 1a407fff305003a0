"""Slices that do not show what they should: black, truncated, or a copy of another one.

The quality gate asks for them before anything is segmented. Looks at every `STRIDE`th row and column of every slice;
what looks like a copy there is compared whole.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.infer.field_of_view import TISSUE_HU
from covnode.records.volume import CTVolume

STRIDE = 4
BLACK_CM2 = 10.0
"""A slice with less tissue than this shows no patient: a child's neck has 40 cm2."""

LOST_SHARE = 0.05
"""Of the tissue that the neighbours show, in lines of one value: more than an outline that moves between slices."""


@dataclass(frozen=True)
class BrokenSlices:
    """Indices k of slices, ascending; each in one list at most. A copy is named, its original below it is not.

    Attributes
    ----------
    black
        Between slices that show the patient.
    empty_ends
        As black, beyond the patient's top or bottom.
    """

    black: tuple[int, ...]
    empty_ends: tuple[int, ...]
    truncated: tuple[int, ...]
    copies: tuple[int, ...]


def find_broken(volume: CTVolume) -> BrokenSlices:
    """Find black, truncated and copied slices."""
    sampled = np.ascontiguousarray(volume.voxels_hu[:, ::STRIDE, ::STRIDE])
    tissue_cm2, flat = _lines(volume, sampled)
    shown_cm2 = tissue_cm2.sum(axis=1)
    black = shown_cm2 < BLACK_CM2
    lost_cm2 = _expected(tissue_cm2, flat).sum(axis=1)
    truncated = ~black & (lost_cm2 > LOST_SHARE * (shown_cm2 + lost_cm2))
    copies = [k for k in _copies(volume.voxels_hu, sampled) if not black[k] and not truncated[k]]
    lowest, highest = ends_shown(volume)
    numbers = np.flatnonzero(black)
    between = (lowest <= numbers) & (numbers <= highest)
    return BrokenSlices(
        black=tuple(numbers[between].tolist()),
        empty_ends=tuple(numbers[~between].tolist()),
        truncated=tuple(np.flatnonzero(truncated).tolist()),
        copies=tuple(copies),
    )


def ends_shown(volume: CTVolume) -> tuple[int, int]:
    """Return the lowest and the highest slice that is not black, or both ends where all are."""
    last = len(volume.voxels_hu) - 1
    lowest = next((k for k in range(last + 1) if not _is_black(volume, k)), 0)
    return lowest, next((k for k in range(last, -1, -1) if not _is_black(volume, k)), last)


def _is_black(volume: CTVolume, k: int) -> bool:
    tissue_cm2, _ = _lines(volume, volume.voxels_hu[k : k + 1, ::STRIDE, ::STRIDE])
    return bool(tissue_cm2.sum() < BLACK_CM2)


def _lines(volume: CTVolume, sampled: NDArray[np.int16]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Tissue in each line as stored, in cm2, and which of the last lines hold one value alone: shape (k, lines)."""
    stored = volume.in_plane
    lines = sampled.swapaxes(1, 2) if stored.transpose else sampled
    lines = lines[:, ::-1] if (stored.flip_i if stored.transpose else stored.flip_j) else lines
    # A transfer that breaks off loses the last rows as they are stored; others of one value show air.
    flat = np.logical_and.accumulate((lines == lines[:, :, :1]).all(axis=2)[:, ::-1], axis=1)[:, ::-1]
    pixel_cm2 = volume.spacing_mm[1] * volume.spacing_mm[2] * STRIDE**2 / 100.0
    return np.where(flat, 0, np.count_nonzero(lines > TISSUE_HU, axis=2)) * pixel_cm2, flat


def _expected(tissue_cm2: NDArray[np.float64], flat: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Tissue that the nearest slices below and above show in the lines that hold one value alone: shape (k, lines).

    Between two such slices it is the lesser of both; at either end of the series that of an adjacent slice, since
    farther ones may differ much.
    """
    count = len(flat)
    index = np.arange(count)[:, None]
    below = np.maximum.accumulate(np.where(flat, -1, index), axis=0)
    above = np.minimum.accumulate(np.where(flat, count, index)[::-1], axis=0)[::-1]
    has_below, has_above = below >= 0, above < count
    from_below = np.take_along_axis(tissue_cm2, np.maximum(below, 0), axis=0)
    from_above = np.take_along_axis(tissue_cm2, np.minimum(above, count - 1), axis=0)
    at_end = np.where(
        has_below & (index - below == 1), from_below, np.where(has_above & (above - index == 1), from_above, 0.0)
    )
    return np.where(flat, np.where(has_below & has_above, np.minimum(from_below, from_above), at_end), 0.0)


def _copies(voxels_hu: NDArray[np.int16], sampled: NDArray[np.int16]) -> list[int]:
    """Slices that equal one below them pixel by pixel."""
    seen: dict[bytes, int] = {}
    found = []
    for k, plane in enumerate(sampled):
        original = seen.setdefault(plane.tobytes(), k)
        if original != k and np.array_equal(voxels_hu[original], voxels_hu[k]):
            found.append(k)
    return found
