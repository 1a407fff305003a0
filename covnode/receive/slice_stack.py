"""Whether the slices that have come stand in a row without a hole, by their positions alone.

Comes from the facts of a series' instances; goes to the evidence of completeness. Never judges whether a series can be
analysed: that is the worker's, which measures again on the pixels' own headers.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from covnode.imaging.slice_axis import Point, along, normal_of
from covnode.records.arrival import SliceFacts

SAME_POSITION_MM = 0.01
"""Slices nearer than this lie at one position: less than the rounding of any writer."""

PARALLEL_COSINE = 0.999
"""Slices whose normals differ by less than 2.6 degrees belong to one stack."""

HOLE_FACTOR = 1.6
"""A slice distance of more than this many spacings is a hole: one missing slice makes 2, rounded positions 1.5."""

UNIFORM_TOLERANCE = 0.05
UNIFORM_TOLERANCE_MM = 0.1
"""How far a slice distance may be from the spacing: 5 %, or 0.1 mm, which two positions rounded to one decimal make."""

FEWEST_POSITIONS = 3
"""Two positions have one distance, which nothing can be compared with."""

MOST_ORIENTATIONS = 16
"""With more (radial reformats) there is no stack to speak of."""


@dataclass(frozen=True)
class StackGeometry:
    """What the positions say of a series.

    Attributes
    ----------
    positions
        Distinct positions in the stacks that were looked at.
    contiguous, uniform
        No hole; all slice distances alike. None: too few slices have a position.
    spacing_mm
        The usual slice distance of the largest stack.
    gaps, largest_gap_mm
        Holes within an acquisition, and the largest slice distance among them.
    alone
        One slice at each position of one stack: its positions suffice to show that no slice within it is missing.
    """

    positions: int = 0
    contiguous: bool | None = None
    uniform: bool | None = None
    spacing_mm: float | None = None
    gaps: int = 0
    largest_gap_mm: float | None = None
    alone: bool = False


@dataclass
class _Parallel:
    """Slices of one orientation: distance along the normal, by acquisition."""

    normal: Point
    along_mm: dict[int | None, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def all_mm(self) -> list[float]:
        return [distance_mm for part in self.along_mm.values() for distance_mm in part]


def geometry_of(slices: Iterable[SliceFacts]) -> StackGeometry:
    """Look for holes in each stack of parallel slices; their order of arrival does not matter."""
    total = placed = 0
    stacks: list[_Parallel] = []
    for facts in slices:
        total += 1
        normal = None if facts.orientation_lps is None else normal_of(facts.orientation_lps)
        if normal is None or facts.position_lps_mm is None or not all(map(math.isfinite, facts.position_lps_mm)):
            continue
        placed += 1
        stack = next((known for known in stacks if abs(along(known.normal, normal)) > PARALLEL_COSINE), None)
        if stack is None:
            if len(stacks) == MOST_ORIENTATIONS:
                return StackGeometry()
            stacks.append(stack := _Parallel(normal))
        stack.along_mm[facts.acquisition_number].append(along(stack.normal, facts.position_lps_mm))
    rows = [row for stack in stacks for row in _rows(stack)]
    if not rows:
        return StackGeometry()
    gaps_mm = [gap_mm for row in rows for gap_mm in row.gaps_mm]
    return StackGeometry(
        positions=sum(row.positions for row in rows),
        contiguous=not gaps_mm,
        uniform=all(row.uniform for row in rows),
        spacing_mm=round(max(rows, key=lambda row: row.positions).spacing_mm, 3),
        gaps=len(gaps_mm),
        largest_gap_mm=round(max(gaps_mm), 3) if gaps_mm else None,
        alone=len(rows) == 1 and rows[0].positions == placed == total,
    )


@dataclass(frozen=True)
class _Row:
    positions: int
    spacing_mm: float
    gaps_mm: tuple[float, ...]
    uniform: bool


def _rows(stack: _Parallel) -> list[_Row]:
    """Return the whole stack as one row where that has no hole; else each acquisition of it as a row of its own."""
    whole = _row(stack.all_mm)
    if whole is None or (not whole.gaps_mm and whole.uniform) or len(stack.along_mm) == 1:
        return [whole] if whole else []
    parts = [part for part in map(_row, stack.along_mm.values()) if part]
    # Acquisitions of one or two slices each (step and shoot) say nothing alone.
    return parts if sum(part.positions for part in parts) > whole.positions / 2 else [whole]


def _row(along_mm: Sequence[float]) -> _Row | None:
    distinct: list[float] = []
    for distance_mm in sorted(along_mm):
        if not distinct or distance_mm - distinct[-1] > SAME_POSITION_MM:
            distinct.append(distance_mm)
    if len(distinct) < FEWEST_POSITIONS:
        return None
    steps_mm = [after - before for before, after in pairwise(distinct)]
    # Not the median: with every other slice still to come, the holes would be the rule.
    spacing_mm = sorted(steps_mm)[(len(steps_mm) - 1) // 10]
    tolerance_mm = max(UNIFORM_TOLERANCE * spacing_mm, UNIFORM_TOLERANCE_MM) + SAME_POSITION_MM
    return _Row(
        len(distinct),
        spacing_mm,
        tuple(step_mm for step_mm in steps_mm if step_mm > HOLE_FACTOR * spacing_mm),
        all(abs(step_mm - spacing_mm) <= tolerance_mm for step_mm in steps_mm),
    )
