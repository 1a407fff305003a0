"""Finds text drawn into a frame: rows of glyphs. Called by deidentify, before anything else looks at the pixels.

What a scanner measures is blurred and noisy; what a program draws has strokes of one value with hard edges. So: take
what stands out of its surroundings, at several contrasts, brighter or darker; keep the components that are uniform
inside and well set off from what lies around them; four of one height in a row are text, across or upright. Knows no
window and no unit. Reads nothing: it says where text is, never what it says.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

Plane = NDArray[np.int32]
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]
Labels = NDArray[np.unsignedinteger]
Boxes = NDArray[np.int64]
"""Shape (n, 4): top, left, bottom, right."""

_STROKE_PIXELS = 11
"""Strokes are narrower than this."""
_LOWEST_CONTRAST = 24
_MOST_COVERED = 0.35
"""At a contrast that more of a frame exceeds, noise is all that can be seen."""
_GLYPH_PIXELS = (4, 80)
"""Height of a glyph, least and most."""
_MOST_WIDE = 2.5
"""Width of a glyph, in heights."""
_MOST_FILLED = 0.85
"""Share of its box that a glyph covers, unless it is a bar ("1", "l")."""
_BAR_PIXELS = 3
_SET_OFF = 2.0
"""Contrast of a glyph in standard deviations within it and around it."""
_LEAST_OF_CONTRAST = 0.8
"""Contrast of a glyph to what lies around it, in that of the mask."""
_GLYPHS = 4
_MOST_GLYPHS = 1500
"""More in a frame are a page of text."""
_ALIGNED = 0.7
_MARGIN = 2
_OUTSIDE = np.iinfo(np.int32).min
"""In the margin laid around a frame."""


class Box(NamedTuple):
    """A rectangle of pixels; bottom and right are the first row and column outside."""

    top: int
    left: int
    bottom: int
    right: int


def find_text(frame: NDArray[np.integer]) -> tuple[Box, ...]:
    """Find rows of text of at least four glyphs, 4 to 80 pixels high.

    Parameters
    ----------
    frame
        Pixel values, shape (rows, columns), of any unit and sign; at most 31 bits.

    Returns
    -------
    tuple[Box, ...]
        Boxes around the rows, none overlapping another; from top to bottom.
    """
    found: list[Box] = []
    bright = frame.astype(np.int32)
    for plane in (bright, -bright):
        relief = np.pad(plane - _opened(plane), _MARGIN)
        padded = np.pad(plane, _MARGIN, constant_values=_OUTSIDE)
        for contrast, mask in _masks(relief):
            for labels in _labellings(mask):
                glyphs = _glyphs(padded, labels, contrast) - _MARGIN
                found += [Box(*row) for row in _rows(glyphs)]
                found += [Box(left, top, right, bottom) for top, left, bottom, right in _rows(glyphs[:, [1, 0, 3, 2]])]
    return tuple(sorted(_merged(found)))


def _opened(plane: Plane) -> Plane:
    """Grey opening (the largest of the smallest) by a square: the frame without whatever is narrower."""
    margin = _STROKE_PIXELS - 1
    padded = np.pad(plane, margin, mode="edge")
    for operation in (np.minimum, np.maximum):
        for axis in (0, 1):
            padded = _running(padded, operation, axis)
        padded = padded[::-1, ::-1]  # the first pass looks ahead, the second back
    return padded[margin:-margin, margin:-margin]


def _running(plane: Plane, operation: Callable[[Plane, Plane], Plane], axis: int) -> Plane:
    """Smallest or largest of the pixels from each one on, in log2 steps; near the end, of fewer."""
    plane, reach = np.moveaxis(plane, axis, 0), 1
    while reach < _STROKE_PIXELS:
        step = min(reach, _STROKE_PIXELS - reach)
        plane = np.concatenate([operation(plane[:-step], plane[step:]), plane[-step:]])
        reach += step
    return np.moveaxis(plane, 0, axis)


def _masks(relief: Plane) -> Iterator[tuple[int, Mask]]:
    """Mask what stands out by at least 24, 48, 96, ...; one that equals the mask before is left out."""
    contrast, highest, covered = _LOWEST_CONTRAST, int(relief.max(initial=0)), -1
    while contrast <= highest:
        mask = relief >= contrast
        before, covered = covered, int(np.count_nonzero(mask))
        if covered != before and covered <= _MOST_COVERED * mask.size:
            yield contrast, mask
        contrast *= 2


def _labellings(mask: Mask) -> Iterator[Labels]:
    """Label components twice: by edges touching glyphs part, by corners too slanting strokes hold together."""
    by_edges, count = cc3d.connected_components(mask, connectivity=4, return_N=True)
    yield by_edges
    by_corners, fewer = cc3d.connected_components(mask, connectivity=8, return_N=True)
    if fewer < count:  # else they are the same
        yield by_corners


def _glyphs(plane: Plane, labels: Labels, contrast: int) -> Boxes:
    """Find the boxes of the components that look like a drawn glyph; none touches the border of the array."""
    width, labels = labels.shape[1], labels.ravel()
    pixels = np.flatnonzero(labels)
    pixels = pixels[np.argsort(labels[pixels], kind="stable")]  # component by component
    starts = np.flatnonzero(np.diff(labels[pixels], prepend=0))
    sizes = np.diff(starts, append=len(pixels))
    pixels, sizes = _of_some(pixels, sizes, sizes >= _GLYPH_PIXELS[0])
    boxes = _boxes(pixels, sizes, width)
    pixels, kept_sizes = _of_some(pixels, sizes, fits := _glyph_like(boxes, sizes))
    if len(kept_sizes) < _GLYPHS:
        return np.empty((0, 4), np.int64)
    set_off, spread = _contrasts(plane, labels, pixels, kept_sizes)
    return boxes[fits][(set_off >= _SET_OFF * spread) & (set_off >= _LEAST_OF_CONTRAST * contrast)]


def _of_some(pixels: Indices, sizes: Indices, kept: Mask) -> tuple[Indices, Indices]:
    """Pixels and sizes of some of the components."""
    return pixels[np.repeat(kept, sizes)], sizes[kept]


def _boxes(pixels: Indices, sizes: Indices, width: int) -> Boxes:
    if not len(sizes):
        return np.empty((0, 4), np.int64)
    starts = np.cumsum(sizes) - sizes
    ends = [(np.minimum.reduceat(at, starts), np.maximum.reduceat(at, starts) + 1) for at in np.divmod(pixels, width)]
    return np.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], axis=1)


def _glyph_like(boxes: Boxes, sizes: Indices) -> Mask:
    """Whether box and number of pixels are those of a glyph."""
    sides = boxes[:, 2:] - boxes[:, :2]
    is_of_size = (sides.max(axis=1) >= _GLYPH_PIXELS[0]) & (sides.max(axis=1) <= _GLYPH_PIXELS[1])
    is_open = (sizes <= _MOST_FILLED * sides.prod(axis=1)) | (sides.min(axis=1) <= _BAR_PIXELS)
    return np.asarray(is_of_size & is_open)


def _contrasts(
    plane: Plane, labels: Labels, pixels: Indices, sizes: Indices
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure the contrast of each component to what lies around it, and the spread within it and around it, added.

    Around: two pixels away, across the edge that antialiasing blurs; what another component covers does not count, nor
    what lies outside the frame. A component that has nothing around it has no contrast.
    """
    width, values, count = plane.shape[1], plane.ravel(), len(sizes)
    component = np.repeat(np.arange(count), sizes)
    own_mean, own_spread, _ = _by_component(component, values[pixels], count)
    owners, near = [], []
    for step in (-2, 2, -2 * width, 2 * width):
        beside = pixels + step
        is_around = (labels[beside] == 0) & (values[beside] != _OUTSIDE)
        owners.append(component[is_around])
        near.append(values[beside[is_around]])
    mean, spread, numbers = _by_component(np.concatenate(owners), np.concatenate(near), count)
    return np.where(numbers >= _GLYPH_PIXELS[0], np.abs(own_mean - mean), 0), own_spread + spread


def _by_component(
    component: Indices, values: Plane, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], Indices]:
    """Mean, standard deviation and number of the values of each component."""
    numbers = np.bincount(component, minlength=count)
    divisor = np.maximum(numbers, 1)
    mean = np.bincount(component, values, count) / divisor
    variance = np.bincount(component, (values - mean[component]) ** 2, count) / divisor
    return mean, np.sqrt(variance), numbers


def _rows(glyphs: Boxes) -> Iterator[tuple[int, int, int, int]]:
    """Boxes around glyphs of about one height that follow one another on one line."""
    height, width = glyphs[:, 2] - glyphs[:, 0], glyphs[:, 3] - glyphs[:, 1]
    glyphs = glyphs[(height >= _GLYPH_PIXELS[0]) & (width <= _MOST_WIDE * height)]
    if len(glyphs) < _GLYPHS:
        return
    if len(glyphs) > _MOST_GLYPHS:
        yield _around(glyphs)
        return
    _, row_of = connected_components(csr_matrix(_neighbours(glyphs)), directed=False)
    for row in np.flatnonzero(np.bincount(row_of) >= _GLYPHS):
        members = glyphs[row_of == row]
        top, left, bottom, right = _around(members)
        height_of_row = float(np.median(members[:, 2] - members[:, 0]))
        is_line = bottom - top <= 2 * height_of_row <= right - left
        off = np.abs(members[:, [0, 2]] - np.median(members[:, [0, 2]], axis=0))
        if is_line and (off <= max(1.0, 0.12 * height_of_row)).mean(axis=0).max() >= _ALIGNED:
            yield top, left, bottom, right


def _neighbours(glyphs: Boxes) -> Mask:
    """Whether two glyphs may follow one another: alike in height, level, a space or less apart; shape (n, n)."""
    top, left, bottom, right = glyphs.T
    height = bottom - top
    higher, lower = np.maximum.outer(height, height), np.minimum.outer(height, height)
    overlap = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    gap = np.maximum.outer(left, left) - np.minimum.outer(right, right)
    level = (lower >= 0.5 * higher) & (overlap >= 0.6 * lower)
    return np.asarray(level & (gap <= 1.6 * higher) & (gap >= -0.3 * higher))


def _around(boxes: Boxes) -> tuple[int, int, int, int]:
    top, left = boxes[:, :2].min(axis=0)
    bottom, right = boxes[:, 2:].max(axis=0)
    return int(top), int(left), int(bottom), int(right)


def _merged(boxes: list[Box]) -> list[Box]:
    """Join boxes that overlap until none does."""
    merged: list[Box] = []
    for box in boxes:
        joined = box
        while touching := [other for other in merged if _overlap(joined, other)]:
            merged = [other for other in merged if other not in touching]
            joined = Box(*_around(np.array([joined, *touching])))
        merged.append(joined)
    return merged


def _overlap(one: Box, other: Box) -> bool:
    return one.top < other.bottom and other.top < one.bottom and one.left < other.right and other.left < one.right
