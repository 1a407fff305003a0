"""Where the images of a series lie, as far as the choice needs it: axial or not, how far, how dense. Figures only.

Called by facts. Judges nothing: the volume stage is strict about geometry and says what is wrong with it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from covnode.imaging.slice_axis import Orientation, Point, along, normal_of

_SAME_PLACE_MM = 0.01


@dataclass(frozen=True)
class Placed:
    """One image: Image Position and Image Orientation (Patient), LPS, None where the header does not say."""

    position_lps_mm: Point | None
    orientation_lps: Orientation | None


@dataclass(frozen=True)
class Extent:
    """How the images of a series lie; None where it is not known.

    Attributes
    ----------
    axial
        The slice axis is nearest to inferior-superior.
    coverage_mm
        Distance of the outermost slices along their normal.
    spacing_mm
        Median distance of adjacent slices.
    """

    axial: bool | None = None
    coverage_mm: float | None = None
    spacing_mm: float | None = None


def extent_of(images: Sequence[Placed]) -> Extent:
    """Measure the images that share the most frequent orientation."""
    orientation = most_frequent_orientation(images)
    normal = None if orientation is None else normal_of(orientation)
    if orientation is None or normal is None:
        return Extent()
    axial = abs(normal[2]) > max(abs(normal[0]), abs(normal[1]))
    alike = [image for image in images if _rounded(image.orientation_lps) == _rounded(orientation)]
    if any(image.position_lps_mm is None for image in alike):
        return Extent(axial)
    places_mm = sorted(along_normal(image, normal) for image in alike)
    steps_mm = [high - low for low, high in pairwise(places_mm) if high - low > _SAME_PLACE_MM]
    if not steps_mm:
        return Extent(axial, 0.0)
    return Extent(axial, places_mm[-1] - places_mm[0], float(median(steps_mm)))


def most_frequent_orientation(images: Sequence[Placed]) -> Orientation | None:
    """Return the orientation of most images; the first of equally frequent ones."""
    stated = [image.orientation_lps for image in images if image.orientation_lps is not None]
    if not stated:
        return None
    frequent = Counter(_rounded(orientation) for orientation in stated).most_common(1)[0][0]
    return next(orientation for orientation in stated if _rounded(orientation) == frequent)


def along_normal(image: Placed, normal: Point) -> float:
    """Position of an image along the slice axis in mm; 0 where it is not known."""
    return along(normal, image.position_lps_mm) if image.position_lps_mm is not None else 0.0


def _rounded(orientation: Orientation | None) -> tuple[float, ...]:
    return tuple(round(cosine, 2) + 0.0 for cosine in orientation or ())
