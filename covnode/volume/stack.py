"""Slices in order from inferior to superior, and whether they stand in one evenly spaced row, upright or tilted.

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
"""How far a slice may lie beside the line of all: less than half a pixel, so no voxel moves to its neighbour."""

LARGEST_TILT_DEG = 35.0
"""Gantries tilt by up to 30 degrees."""


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
    """Refuse a stack whose slices are not evenly spaced on a straight line, along their normal or tilted off it.

    Raises
    ------
    SliceMissing
        When one or more slice distances are whole multiples of the others.
    NonUniformSpacing
        When they differ otherwise.
    MixedGeometry
        When slices lie beside the line, or the line is tilted more than any gantry.
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


def tilt_deg_of(stack: Stack) -> float:
    """Angle between the line of an even stack and the slice normal: the gantry's tilt; 0 where no voxel shows it."""
    beside_mm = _beside_mm(stack)
    if np.linalg.norm(beside_mm, axis=1).max() <= _limit_mm(stack.plane):
        return 0.0
    return float(np.degrees(np.arctan2(np.linalg.norm(beside_mm[-1]), np.ptp(stack.distances_mm))))


def _require_straight(stack: Stack) -> None:
    beside_mm, numbers = _beside_mm(stack), np.arange(len(stack.frames))
    # The line that the volume's affine describes.
    line_mm = np.outer(numbers / numbers[-1], beside_mm[-1])
    if np.linalg.norm(beside_mm - line_mm, axis=1).max() > _limit_mm(stack.plane):
        # The line of most slices, which no single one draws aside.
        half = len(numbers) // 2
        line_mm = np.outer(numbers, np.median((beside_mm[half:] - beside_mm[:-half]) / half, axis=0))
        off_mm = np.linalg.norm(beside_mm - line_mm - np.median(beside_mm - line_mm, axis=0), axis=1)
        worst = int(off_mm.argmax())
        raise MixedGeometry(f"{stack.name(worst)} lies {off_mm[worst]:.1f} mm beside the line of the other slices")
    tilt_deg = tilt_deg_of(stack)
    if tilt_deg > LARGEST_TILT_DEG:
        step_mm = np.linalg.norm(beside_mm[-1]) / numbers[-1]
        raise MixedGeometry(
            f"each slice lies {step_mm:.2f} mm beside the one below, {tilt_deg:.1f} degrees off the slice normal: "
            f"no gantry is tilted by more than {LARGEST_TILT_DEG:.0f} degrees"
        )


def _beside_mm(stack: Stack) -> NDArray[np.float64]:
    """How far each slice lies beside the normal through the first one, LPS, shape (slices, 3)."""
    along_mm = stack.distances_mm - stack.distances_mm[0]
    return np.asarray(stack.positions_lps_mm - stack.positions_lps_mm[0] - np.outer(along_mm, stack.plane.normal))


def _limit_mm(plane: PlaneGeometry) -> float:
    return SHIFT_TOLERANCE_PIXELS * min(plane.row_spacing_mm, plane.column_spacing_mm)
