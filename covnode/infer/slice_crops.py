"""What a network of slices sees of a volume, and its answer put back: each slice cut to the body and made 256 x 256.

Called by r231. Gives what lungmask 0.2.20 gives to its networks, bit for bit, the masks of the body of all slices at
once: its networks were trained on that (Hofmanninger et al., Eur Radiol Exp 2020;4:50).
"""

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIDE = 256
"""Rows and columns of what the networks take."""

SLICE_WINDOW_HU = (-1024, 600)
"""The densities that become 0 and 1."""
_BODY_HU = -500
_BODY_SIDE = 128
_CROSS = ndimage.generate_binary_structure(2, 1)[np.newaxis]
_SQUARE = ndimage.generate_binary_structure(2, 2)[np.newaxis]

_Value = TypeVar("_Value", np.int16, np.uint8, np.bool_)

Boxes = NDArray[np.intp]
"""Shape (k, 4): first row, first column, end of the rows, end of the columns of each slice's body."""


def cut_out(voxels_hu: NDArray[np.int16]) -> tuple[NDArray[np.float32], Boxes]:
    """Cut each slice to its body and scale it.

    Parameters
    ----------
    voxels_hu
        Shape (k, j, i).

    Returns
    -------
    tuple
        float32, (k, 256, 256), 0 at -1024 HU and 1 at 600 HU; and the boxes for `put_back`.
    """
    lowest_hu, highest_hu = SLICE_WINDOW_HU
    boxes = body_boxes(voxels_hu)
    slices = np.empty((len(voxels_hu), SIDE, SIDE), dtype=np.float32)
    for one, target, (top, left, bottom, right) in zip(voxels_hu, slices, boxes, strict=True):
        body = np.clip(one[top:bottom, left:right], lowest_hu, highest_hu)
        factors = SIDE / np.asarray(body.shape)
        target[...] = (ndimage.zoom(body, factors, order=1) - lowest_hu) / (highest_hu - lowest_hu)
    return slices, boxes


def put_back(labels: NDArray[np.uint8], boxes: Boxes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Put labels of shape (k, 256, 256) where `cut_out` took their slices from; ``shape`` is (k, j, i)."""
    whole = np.zeros(shape, dtype=np.uint8)
    for one, target, (top, left, bottom, right) in zip(labels, whole, boxes, strict=True):
        target[top:bottom, left:right] = _nearest(one, (bottom - top, right - left))
    return whole


def body_boxes(voxels_hu: NDArray[np.int16]) -> Boxes:
    """Find the box of the body in each slice; where there is none, the whole slice."""
    _, height, width = voxels_hu.shape
    body = _nearest(voxels_hu, (_BODY_SIDE, _BODY_SIDE)) > _BODY_HU
    body = ndimage.binary_closing(body, _CROSS)
    body = ndimage.binary_fill_holes(body, _SQUARE)
    body = ndimage.binary_erosion(body, _CROSS, iterations=2)
    body = np.stack([_largest_part(one) for one in body])
    body = ndimage.binary_dilation(body, _CROSS, iterations=2)
    top, bottom = _first_and_end(_nearest(body.any(axis=2)[:, np.newaxis], (1, height))[:, 0])
    left, right = _first_and_end(_nearest(body.any(axis=1)[:, np.newaxis], (1, width))[:, 0])
    return np.stack([top, left, bottom, right], axis=1)


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    return np.asarray(parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1)


def _first_and_end(hit: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first true place of each row and the one behind the last; all of a row without any."""
    length = hit.shape[1]
    hit = hit | ~hit.any(axis=1, keepdims=True)
    return hit.argmax(axis=1), length - hit[:, ::-1].argmax(axis=1)


def _nearest(slices: NDArray[_Value], shape: tuple[int, int]) -> NDArray[_Value]:
    """Resize the last two axes to the nearest neighbour, as ndimage.zoom does it with order 0."""
    rows, columns = (_sources(length, to) for length, to in zip(slices.shape[-2:], shape, strict=True))
    resized = slices[..., rows[:, np.newaxis], columns]
    resized[..., rows < 0, :] = 0
    resized[..., columns < 0] = 0
    return resized


@lru_cache(maxsize=1024)
def _sources(length: int, to: int) -> NDArray[np.intp]:
    """Return where each place of a resized axis comes from; -1 where rounding leads past the end: zoom puts 0 there."""
    numbered = np.arange(1, length + 1)
    return np.asarray(ndimage.zoom(numbered, to / length, order=0) - 1, dtype=np.intp)
