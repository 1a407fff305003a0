"""The patient without the room and the table: lungs asks for it before anything else.

Works on the coarse grid of lungs. What is not reached from the room is the body, with all air inside; so a lung that
the field of view cuts stays in it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.imaging.components import Mask, largest
from covnode.imaging.morphology import Spacing, closed_in_slices, opened_in_slices

SKIN_HU = -500
"""Halfway between air and the skin."""

TABLE_MM = 5.0
"""Radius below which dense things around the patient are table tops, blankets and tubes."""

WALL_MM = 8.0
"""Radius of the gaps that a chest wall thinner than a table top is left with."""

ROOM_HU = -960
"""Room air is darker in the mean of a small neighbourhood, lung is not: its vessels lighten it."""

ROOM_NEIGHBOURHOOD_MM = 11.0


def find_body(hu: NDArray[np.int16], spacing_mm: Spacing) -> Mask:
    """Find the patient with all air inside.

    Parameters
    ----------
    hu
        int16, shape (k, j, i), Hounsfield units on a grid of about 1.5 mm in the plane.
    spacing_mm
        (k, j, i) of the grid.

    Returns
    -------
    numpy.ndarray
        bool, same shape.
    """
    patient = largest(opened_in_slices(hu > SKIN_HU, TABLE_MM, spacing_mm))
    patient = closed_in_slices(patient, WALL_MM, spacing_mm)
    size = [1, *(max(1, round(ROOM_NEIGHBOURHOOD_MM / spacing)) for spacing in spacing_mm[1:])]
    dark = ndimage.uniform_filter(hu, size) < ROOM_HU
    return np.stack([~_room(~inside, is_dark) for inside, is_dark in zip(patient, dark, strict=True)])


def _room(air: NDArray[np.bool_], dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find what lies around the patient in one slice: all that reaches an edge, but for lung that is cut off.

    Lung is cut off at one side of the patient. A mattress reaches both sides or the edge behind, the room is dark.
    """
    regions, count = ndimage.label(air)
    front, behind, right, left = (
        np.isin(np.arange(count + 1), edge) for edge in (regions[0], regions[-1], regions[:, 0], regions[:, -1])
    )
    is_dark = np.isin(np.arange(count + 1), regions[dark & air])
    room = (front | behind | right | left) & (front | behind | (right & left) | is_dark)
    room[0] = False
    return np.asarray(room[regions])
