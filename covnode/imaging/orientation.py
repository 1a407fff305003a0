"""How a stored pixel matrix lies in the patient, and the way to the canonical grid and back.

Comes from direction cosines; goes to volume (stored -> canonical) and to report (canonical -> stored, so that a
segmentation has its source's pixel matrix). Only turns and mirrors: no pixel value is ever computed.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from covnode.records.volume import InPlane

Scalar = TypeVar("Scalar", bound="np.generic[Any]")


def in_plane_of(row_cosines: Sequence[float], column_cosines: Sequence[float]) -> InPlane:
    """How stored rows and columns become the canonical (j, i): j to posterior, i to the patient's left.

    Parameters
    ----------
    row_cosines, column_cosines
        First and second triple of Image Orientation (Patient), LPS (PS3.3 C.7.6.2.1.1): the directions in which
        the column index and the row index grow. The plane is nearer to axial than to coronal or sagittal.

    Returns
    -------
    InPlane
        The turn and mirrors after which each axis is the nearest patient axis; at exactly 45 degrees in the plane
        the matrix is not transposed.
    """
    upright = abs(row_cosines[0]) + abs(column_cosines[1])
    turned = abs(row_cosines[1]) + abs(column_cosines[0])
    transpose = turned > upright
    along_i, along_j = (column_cosines, row_cosines) if transpose else (row_cosines, column_cosines)
    return InPlane(transpose=transpose, flip_j=along_j[1] < 0, flip_i=along_i[0] < 0)


def to_canonical(plane: NDArray[Scalar], in_plane: InPlane) -> NDArray[Scalar]:
    """View stored (..., row, column) in canonical order (..., j, i)."""
    if in_plane.transpose:
        plane = plane.swapaxes(-1, -2)
    return _flipped(plane, in_plane)


def to_native(plane: NDArray[Scalar], in_plane: InPlane) -> NDArray[Scalar]:
    """View canonical (..., j, i) in stored order (..., row, column): the inverse of `to_canonical`."""
    plane = _flipped(plane, in_plane)
    return plane.swapaxes(-1, -2) if in_plane.transpose else plane


def _flipped(plane: NDArray[Scalar], in_plane: InPlane) -> NDArray[Scalar]:
    if in_plane.flip_j:
        plane = plane[..., ::-1, :]
    if in_plane.flip_i:
        plane = plane[..., ::-1]
    return plane
