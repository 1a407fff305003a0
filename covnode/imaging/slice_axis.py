"""The axis along which the slices of a stack lie, by Image Orientation (Patient) alone.

Called by receive (is there a hole?) and by choose (how far, how dense?). Plain figures, no array: a header a slice.
"""

import math

Point = tuple[float, float, float]
Orientation = tuple[float, float, float, float, float, float]

_LEAST_LENGTH = 0.5
"""Shorter is the product of two directions less than 30 degrees apart, or of no unit length: they span no image."""


def normal_of(orientation: Orientation) -> Point | None:
    """Return the unit vector at right angles to the image, LPS; None where the cosines span no plane."""
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    if not _LEAST_LENGTH < length < math.inf:
        return None
    return (normal[0] / length, normal[1] / length, normal[2] / length)


def along(normal: Point, position: Point) -> float:
    """Return how far a position (LPS, mm) lies along the axis, in mm."""
    return normal[0] * position[0] + normal[1] * position[1] + normal[2] * position[2]
