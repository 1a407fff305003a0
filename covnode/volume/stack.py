"""Slices in order from inferior to superior, and whether they stand in one straight, evenly spaced row.

Comes from selection and geometry; goes to duplicates and loading. Strict: no slice is moved, made up or dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.errors import MixedGeometry, NonUniformSpacing, SliceMissing
from covnode.volume.frames import Frame
from covnode.volume.geometry import PlaneGeometry, positions_of

SAME_POSITION_MM = 0.01
"""Slices nearer than this lie at one position: less than the rounding of any writer, far below any slice distance."""

RELATIVE_TOLERANCE = 0.05
ABSOLUTE_TOLERANCE_MM = 0.1
"""How far a slice distance may be from the median: 5 %, or 0.1 mm, which two positions rounded to one decimal make."""

SHIFT_TOLERANCE_PIXELS = 0.5
"""How far a slice may lie beside the first one's axis: less than half a pixel, so no voxel moves to its neighbour."""


@dataclass(frozen=True)
class Stack:
    """Frames from inferior to superior.

    Attributes
    ----------
    positions_lps_mm
        Shape (frames, 3): Image Position (Patient).
    distances_mm
        Shape (frames,): positions projected on the slice normal that points to superior.
    """

    plane: PlaneGeometry
    frames: tuple[Frame, ...]
    positions_lps_mm: NDArray[np.float64]
    distances_mm: NDArray[np.float64]

    def name(self, index: int) -> str:
        """Name slice `index` so that a person finds it."""
        return f"{self.frames[index].name} (slice {index + 1} from below, {self.distances_mm[index]:.2f} mm)"


def stack_of(frames: Sequence[Frame], plane: PlaneGeometry) -> Stack:
    """Sort by position; at one position by Instance Number, then by the order given."""
    by_number = sorted(frames, key=lambda frame: (frame.image.instance_number or 0, frame.number or 0))
    positions = positions_of(by_number)
    distances = positions @ plane.normal
    order = np.argsort(np.round(distances / SAME_POSITION_MM), kind="stable")
    return Stack(plane, tuple(by_number[index] for index in order), positions[order], distances[order])


def require_even(stack: Stack) -> None:
    """Refuse a stack whose slices are not evenly spaced on a straight line along their normal.

    Raises
    ------
    SliceMissing
        When one or more slice distances are whole multiples of the others.
    NonUniformSpacing
        When they differ otherwise.
    MixedGeometry
        When slices lie beside the line: gantry tilt, or a shifted field of view.
    """
    gaps_mm = np.diff(stack.distances_mm)
    spacing_mm = float(np.median(gaps_mm))
    tolerance_mm = max(RELATIVE_TOLERANCE * spacing_mm, ABSOLUTE_TOLERANCE_MM) + 1e-6
    uneven = np.flatnonzero(np.abs(gaps_mm - spacing_mm) > tolerance_mm)
    if len(uneven):
        _refuse_gaps(stack, uneven, spacing_mm, tolerance_mm)
    ideal_mm = np.linspace(stack.distances_mm[0], stack.distances_mm[-1], len(stack.frames))
    off_mm = np.abs(stack.distances_mm - ideal_mm)
    worst = int(off_mm.argmax())
    if off_mm[worst] > max(spacing_mm / 2, tolerance_mm):
        raise NonUniformSpacing(
            f"the slice distance drifts: {stack.name(worst)} lies {off_mm[worst]:.2f} mm off an even stack"
        )
    _require_straight(stack)


def _refuse_gaps(stack: Stack, uneven: NDArray[np.intp], spacing_mm: float, tolerance_mm: float) -> None:
    gaps_mm = np.diff(stack.distances_mm)[uneven]
    multiples = np.rint(gaps_mm / spacing_mm)
    places = "; ".join(
        f"{gap_mm:.2f} mm between {stack.name(index)} and {stack.name(index + 1)}"
        for index, gap_mm in zip(uneven[:3].tolist(), gaps_mm[:3].tolist(), strict=True)
    )
    more = f" and at {len(uneven) - 3} more places" if len(uneven) > 3 else ""
    if np.all((multiples >= 2) & (np.abs(gaps_mm - multiples * spacing_mm) <= multiples * tolerance_mm)):
        missing = int((multiples - 1).sum())
        raise SliceMissing(f"{missing} slice(s) missing: slices are {spacing_mm:.2f} mm apart, but {places}{more}")
    raise NonUniformSpacing(f"the slice distance varies: the median is {spacing_mm:.2f} mm, but {places}{more}")


def _require_straight(stack: Stack) -> None:
    along_mm = stack.distances_mm - stack.distances_mm[0]
    beside_mm = stack.positions_lps_mm - stack.positions_lps_mm[0] - np.outer(along_mm, stack.plane.normal)
    limit_mm = SHIFT_TOLERANCE_PIXELS * min(stack.plane.row_spacing_mm, stack.plane.column_spacing_mm)
    shifts_mm = np.linalg.norm(beside_mm, axis=1)
    worst = int(shifts_mm.argmax())
    if shifts_mm[worst] <= limit_mm:
        return
    slope = along_mm @ beside_mm / (along_mm @ along_mm)
    if np.linalg.norm(beside_mm - np.outer(along_mm, slope), axis=1).max() <= limit_mm:
        tilt_deg = np.degrees(np.arctan(np.linalg.norm(slope)))
        raise MixedGeometry(
            f"the gantry was tilted: each slice lies beside the one below, {tilt_deg:.1f} degrees off the slice normal "
            f"({shifts_mm[worst]:.1f} mm over the stack)"
        )
    raise MixedGeometry(f"{stack.name(worst)} lies {shifts_mm[worst]:.1f} mm beside the axis of the first slice")
