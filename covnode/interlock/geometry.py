"""Whether a SEG shows the stored masks, voxel for voxel, at the place in the patient that the originals give.

Comes from the SEG as read, the originals and the stored masks; ends in silence or a refusal. The lattice of the masks
is held against the originals first, so that a mistake of the volume stage is not believed.
Frame of reference: LPS, mm.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.imaging.mask_file import StoredMasks
from covnode.interlock.expected import LEFT, RIGHT, ExpectedSegment
from covnode.interlock.originals import Originals, Plane
from covnode.interlock.refusals import Rule, refusal
from covnode.interlock.segmentation import Seg, SegFrame

SHIFT_TOLERANCE_MM = 0.01
# Cosines and spacings may differ by rounding between the slices of a series: 0.1 mm over a field of 500 mm.
STEP_TOLERANCE = 2e-4
# Between the ends of the stack a slice may lie off the even lattice, yet never nearer to another voxel.
_LATTICE_TOLERANCE_VOXELS = 0.5


@dataclass(frozen=True)
class _Placing:
    """How a plane lies in the canonical grid: its slice, and the turn and mirrors of its pixel matrix."""

    k: int
    transpose: bool
    flip_j: bool
    flip_i: bool

    def to_canonical(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(rows, columns) -> (j, i)."""
        mask = mask.T if self.transpose else mask
        return mask[:: -1 if self.flip_j else 1, :: -1 if self.flip_i else 1]


class Lattice:
    """The canonical grid of the stored masks, verified against the originals."""

    def __init__(self, masks: StoredMasks, originals: Originals) -> None:
        self._affine = masks.affine_lps_mm
        self._inverse = np.linalg.inv(masks.affine_lps_mm)
        self.shape = masks.lung_labels.shape
        if masks.lesion_labels.shape != self.shape:
            raise refusal(Rule.GEOMETRY, "the stored masks differ in shape")
        at_end = {k: self._hits_exactly(originals.planes.values(), k) for k in (0, self.shape[0] - 1)}
        if not all(at_end.values()):
            raise refusal(Rule.GEOMETRY, "the grid of the masks does not begin and end at original slices")

    def placing(self, plane: Plane) -> _Placing | None:
        """Find a plane's place; None when it is not one of the grid's slices."""
        steps = (self._inverse[:3, :3] @ np.stack([plane.row_step, plane.column_step], axis=1)).T
        turned = np.rint(steps)
        on_grid = np.abs(turned).sum(axis=1).tolist() == [1, 1] and np.all(turned[:, 2] == 0)
        if not on_grid or np.abs(turned[:, :2].sum(axis=0)).min() != 1 or np.abs(steps - turned).max() > STEP_TOLERANCE:
            return None
        transpose = bool(turned[0, 0] != 0)
        flip_i, flip_j = bool(turned[:, 0].sum() < 0), bool(turned[:, 1].sum() < 0)
        matrix = (plane.columns, plane.rows) if transpose else (plane.rows, plane.columns)
        index = (self._inverse @ [*plane.position, 1.0])[:3]
        corner = np.array([matrix[1] - 1 if flip_i else 0, matrix[0] - 1 if flip_j else 0, np.rint(index[2])])
        off = np.abs(index - corner).max()
        if matrix != self.shape[1:] or off > _LATTICE_TOLERANCE_VOXELS or not 0 <= corner[2] < self.shape[0]:
            return None
        return _Placing(int(corner[2]), transpose, flip_j, flip_i)

    def _hits_exactly(self, planes: Iterable[Plane], k: int) -> bool:
        return any(
            placing is not None and placing.k == k and self._offset_mm(plane, placing) <= SHIFT_TOLERANCE_MM
            for plane in planes
            if (placing := self.placing(plane)) is not None
        )

    def _offset_mm(self, plane: Plane, placing: _Placing) -> float:
        corner = [
            self.shape[2] - 1 if placing.flip_i else 0,
            self.shape[1] - 1 if placing.flip_j else 0,
            placing.k,
            1.0,
        ]
        return float(np.linalg.norm((self._affine @ corner)[:3] - plane.position))


def check_geometry(seg: Seg, lattice: Lattice, masks: StoredMasks, originals: Originals) -> None:
    """Compare every frame of a SEG with the stored masks in patient coordinates.

    Raises
    ------
    DeliveryRefused
        ``geometry``, ``frames``, ``side`` or ``voxels``.
    """
    placings = {frame.index: _placing_at_source(frame, lattice, originals) for frame in seg.frames}
    expected_of = {segment.number: segment.expected for segment in seg.segments}
    differing = 0
    centres = _Centres()
    for frame in seg.frames:
        mask = seg.mask(frame)
        expected = expected_of[frame.segment_number]
        centres.add(expected, frame.plane, mask)
        placing = placings[frame.index]
        stored = _labels(masks, expected)[placing.k] == expected.value
        differing += not np.array_equal(placing.to_canonical(mask), stored)
    centres.refuse_swapped_sides()
    _refuse_frames(seg, placings, masks)
    if differing:
        raise refusal(Rule.VOXELS, f"{differing} of {len(seg.frames)} frames differ from the stored masks")


def _placing_at_source(frame: SegFrame, lattice: Lattice, originals: Originals) -> _Placing:
    original = originals.planes.get(frame.source)
    if original is None:
        raise refusal(Rule.REFERENCES, f"frame {frame.index + 1} refers to an image that was not received")
    plane = frame.plane
    shift_mm = float(np.linalg.norm(plane.position - original.position))
    if shift_mm > SHIFT_TOLERANCE_MM:
        raise refusal(Rule.GEOMETRY, f"frame {frame.index + 1} lies {shift_mm:.3f} mm off its source image")
    steps = np.stack([plane.row_step, plane.column_step, original.row_step, original.column_step])
    limit_mm = STEP_TOLERANCE * float(np.linalg.norm(steps, axis=1).min())
    if np.abs(steps[:2] - steps[2:]).max() > limit_mm:
        raise refusal(Rule.GEOMETRY, f"frame {frame.index + 1} is not oriented and spaced like its source image")
    if (plane.rows, plane.columns) != (original.rows, original.columns):
        raise refusal(Rule.GEOMETRY, "the segmentation has another pixel matrix than its source images")
    placing = lattice.placing(plane)
    if placing is None:
        raise refusal(Rule.GEOMETRY, f"frame {frame.index + 1} does not lie on the grid of the masks")
    return placing


def _refuse_frames(seg: Seg, placings: dict[int, _Placing], masks: StoredMasks) -> None:
    """Each segment must have a frame for just those slices where the stored mask holds a voxel."""
    for segment in seg.segments:
        slices = sorted(placings[f.index].k for f in seg.frames if f.segment_number == segment.number)
        holds = (_labels(masks, segment.expected) == segment.expected.value).any(axis=(1, 2))
        wanted = np.flatnonzero(holds).tolist()
        if slices != wanted:
            missing, extra = len(set(wanted) - set(slices)), len(slices) - len(set(slices) & set(wanted))
            raise refusal(Rule.FRAMES, f"segment {segment.number}: {missing} frames missing, {extra} too many")


def _labels(masks: StoredMasks, expected: ExpectedSegment) -> NDArray[np.uint8]:
    return masks.lung_labels if expected.mask == "lungs" else masks.lesion_labels


class _Centres:
    """Sums up where the lungs of a SEG lie in the patient, by the SEG's own geometry."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], NDArray[np.float64]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, expected: ExpectedSegment, plane: Plane, mask: NDArray[np.bool_]) -> None:
        """Add one frame of a lung."""
        if expected.laterality is None:
            return
        in_rows, in_columns = np.count_nonzero(mask, axis=1), np.count_nonzero(mask, axis=0)
        count = int(in_rows.sum())
        moved = (
            plane.position * count
            + plane.row_step * float(in_rows @ np.arange(plane.rows))
            + plane.column_step * float(in_columns @ np.arange(plane.columns))
        )
        side = expected.laterality
        self._sums[side] = self._sums.get(side, np.zeros(3)) + moved
        self._counts[side] = self._counts.get(side, 0) + count

    def refuse_swapped_sides(self) -> None:
        """Refuse when the left lung lies to the right: x of LPS grows to the patient's left."""
        if not self._counts.get(LEFT) or not self._counts.get(RIGHT):
            return
        left_x = self._sums[LEFT][0] / self._counts[LEFT]
        right_x = self._sums[RIGHT][0] / self._counts[RIGHT]
        if left_x <= right_x:
            raise refusal(Rule.SIDE, f"the left lung lies {right_x - left_x:.1f} mm to the right of the right lung")
