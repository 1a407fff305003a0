"""Several images of one place: copies are merged, separate acquisitions are told apart, the rest is refused.

Comes from stack; goes to loading. Whatever is left out is stated in a caution.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from covnode.errors import DuplicatePositions, SeriesUnusable
from covnode.volume.frames import Frame
from covnode.volume.pixels import read_frame_hu
from covnode.volume.selection import require_enough
from covnode.volume.stack import SAME_POSITION_MM, Stack, require_even, stack_of

EXTENT_TOLERANCE_MM = 10.0
"""How much further than the chosen stack the others may reach: acquisitions of one planned range differ by less."""

# What tells two acquisitions or reconstructions of one series apart, the surest first.
_SEPARATORS: tuple[tuple[str, Callable[[Frame], Any]], ...] = (
    ("Acquisition Number", lambda frame: frame.acquisition_number),
    ("Temporal Position", lambda frame: frame.temporal_position),
    ("Acquisition Time", lambda frame: frame.acquisition_time),
    ("Image Type", lambda frame: frame.image_type),
    ("Convolution Kernel", lambda frame: frame.convolution_kernel),
)


def resolve_duplicates(stack: Stack, *, min_slices: int) -> tuple[Stack, tuple[str, ...]]:
    """One even stack with one image at each position.

    Identical images at one position are one slice: the one with the lowest Instance Number stays. Where images
    differ, or lie between the slices of another stack, Acquisition Number, Temporal Position, Acquisition Time, Image
    Type and Convolution Kernel are tried in turn: the first that splits the series so that a part is a complete even
    stack over the whole extent decides. Of several such parts the one with most slices is taken; at a tie the first
    acquired (of contrast phases the one with least contrast). Acquisitions that follow one another along the body are
    one stack.

    Returns
    -------
    stack, cautions

    Raises
    ------
    DuplicatePositions
        When the images at one position differ and nothing tells them apart.
    TooFewSlices, SliceMissing, NonUniformSpacing, MixedGeometry
        When what remains is no even stack.
    PixelDataUnreadable
        When images at one position cannot be decoded to be compared.
    """
    merged = _merged(stack)
    for attribute, value_of in _SEPARATORS:
        parts = _complete_parts(stack, value_of, min_slices)
        if merged is not None:
            parts = [part for part in parts if _has_others_between(part, merged)]
        if parts:
            chosen = max(parts, key=lambda part: len(part.frames))  # the first of equals
            return chosen, (_caution(attribute, value_of, stack, chosen),)
    if merged is None:
        raise DuplicatePositions(_reason(stack))
    require_enough(merged.frames, min_slices)
    require_even(merged)
    copies = len(stack.frames) - len(merged.frames)
    caution = f"{copies} image(s) were identical copies of another at the same position; one of each was used."
    return merged, (caution,) if copies else ()


def _complete_parts(stack: Stack, value_of: Callable[[Frame], Any], min_slices: int) -> list[Stack]:
    """Even stacks over the whole extent, in ascending order of the attribute."""
    groups: dict[Any, list[Frame]] = {}
    for frame in stack.frames:
        groups.setdefault(value_of(frame), []).append(frame)
    if len(groups) < 2:
        return []
    parts = (_complete(groups[value], stack, min_slices) for value in sorted(groups, key=lambda v: (v is None, v)))
    return [part for part in parts if part is not None]


def _has_others_between(part: Stack, merged: Stack) -> bool:
    """Whether slices that are no part of it lie between its own, as those of an interleaved acquisition do."""
    first_mm, last_mm = part.distances_mm[[0, -1]] + [-SAME_POSITION_MM, SAME_POSITION_MM]
    spanned = (merged.distances_mm >= first_mm) & (merged.distances_mm <= last_mm)
    return int(np.count_nonzero(spanned)) > len(part.frames)


def _complete(frames: Sequence[Frame], whole: Stack, min_slices: int) -> Stack | None:
    if len(frames) < max(min_slices, 2):
        return None
    part = _merged(stack_of(frames, whole.plane))
    if part is None or len(part.frames) < max(min_slices, 2):
        return None
    reaches_below = part.distances_mm[0] - whole.distances_mm[0] <= EXTENT_TOLERANCE_MM
    reaches_above = whole.distances_mm[-1] - part.distances_mm[-1] <= EXTENT_TOLERANCE_MM
    try:
        require_even(part)
    except SeriesUnusable:
        return None
    return part if reaches_below and reaches_above else None


def _merged(stack: Stack) -> Stack | None:
    """Leave out identical copies; None when images at one position differ."""
    kept: list[Frame] = []
    for index, frame in enumerate(stack.frames):
        if not _same_position(stack, index):
            kept.append(frame)
        elif not np.array_equal(read_frame_hu(kept[-1]), read_frame_hu(frame)):
            return None
    return stack if len(kept) == len(stack.frames) else stack_of(kept, stack.plane)


def _same_position(stack: Stack, index: int) -> bool:
    """Whether the slice lies where the one before it lies."""
    return index > 0 and bool(stack.distances_mm[index] - stack.distances_mm[index - 1] < SAME_POSITION_MM)


def _caution(attribute: str, value_of: Callable[[Frame], Any], stack: Stack, chosen: Stack) -> str:
    value = value_of(chosen.frames[0])
    which = f" {value}" if isinstance(value, int) else ""
    return (
        f"The series holds several stacks of images of the same range, told apart by {attribute}; the one of "
        f"{len(chosen.frames)} slices{which and f' ({attribute}{which})'} was used and "
        f"{len(stack.frames) - len(chosen.frames)} other image(s) were left out."
    )


def _reason(stack: Stack) -> str:
    places = [index for index in range(len(stack.frames)) if _same_position(stack, index)]
    first = places[0]
    return (
        f"different images lie at the same position in {len(places)} places, and nothing tells complete stacks apart: "
        f"{stack.name(first - 1)} and {stack.name(first)}"
    )
