"""Where the slices of a series lie: one plane geometry for all, and the way from voxels to patient coordinates.

Comes from selection; goes to stack and loading. Strict: what does not fit is refused with figures, nothing is moved.
Frame of reference: LPS, mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.errors import GeometryMissing, MixedGeometry, NotAxial
from covnode.imaging.orientation import in_plane_of
from covnode.records.volume import InPlane
from covnode.volume.frames import Frame, Vector, named

COSINE_TOLERANCE = 1e-4
"""Largest difference of a direction cosine between slices: 0.05 mm at the edge of a 500 mm field."""

SPACING_TOLERANCE = 1e-4
"""Largest relative difference of Pixel Spacing between slices: 0.05 mm over a 500 mm field."""

UNIT_TOLERANCE = 1e-3
"""How far cosines may be from orthogonal unit vectors (PS3.3 C.7.6.2.1.1): writers round them to 3 decimals."""


@dataclass(frozen=True)
class PlaneGeometry:
    """What all slices share.

    Attributes
    ----------
    row, column
        Image Orientation (Patient): unit vectors, LPS.
    normal
        Unit vector of the slice axis that points to superior, LPS.
    row_spacing_mm, column_spacing_mm
        Distance of adjacent rows, and of adjacent columns.
    """

    row: NDArray[np.float64]
    column: NDArray[np.float64]
    normal: NDArray[np.float64]
    row_spacing_mm: float
    column_spacing_mm: float
    rows: int
    columns: int
    in_plane: InPlane


def common_plane(frames: Sequence[Frame]) -> PlaneGeometry:
    """Plane geometry of all frames.

    Raises
    ------
    GeometryMissing
        When position, orientation or spacing is absent, malformed or impossible.
    MixedGeometry
        When orientation, matrix, pixel spacing or frame of reference differ.
    NotAxial
        When the slice axis is nearer to another patient axis than to inferior-superior.
    """
    positions_of(frames)
    orientations = _stacked(frames, "Image Orientation (Patient)", [frame.orientation for frame in frames])
    spacings_mm = _stacked(frames, "Pixel Spacing", [frame.pixel_spacing_mm for frame in frames])
    _require_possible(frames, orientations, spacings_mm)
    _require_same(frames, "Frame of Reference", [frame.image.frame_of_reference_uid for frame in frames])
    _require_same(frames, "matrix", [(f.image.pixel_format.rows, f.image.pixel_format.columns) for f in frames])
    pixel_format = frames[0].image.pixel_format
    pixels = max(pixel_format.rows, pixel_format.columns)
    field_mm = pixels * float(spacings_mm.max())
    _require_close(frames, "Image Orientation (Patient)", orientations, COSINE_TOLERANCE, field_mm)
    _require_close(frames, "Pixel Spacing", spacings_mm, SPACING_TOLERANCE * float(spacings_mm.min()), pixels)

    row, column = orientations[0, :3], orientations[0, 3:]
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    if np.argmax(np.abs(normal)) != 2:
        angle_deg = np.degrees(np.arccos(min(1.0, abs(float(normal[2])))))
        raise NotAxial(f"the slices are not axial: their axis is {angle_deg:.0f} degrees off inferior-superior")
    return PlaneGeometry(
        row=row,
        column=column,
        normal=normal if normal[2] > 0 else -normal,
        row_spacing_mm=float(spacings_mm[0, 0]),
        column_spacing_mm=float(spacings_mm[0, 1]),
        rows=pixel_format.rows,
        columns=pixel_format.columns,
        in_plane=in_plane_of(row.tolist(), column.tolist()),
    )


def affine_of(plane: PlaneGeometry, positions_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine (i, j, k, 1) -> LPS mm of the canonical grid (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1).

    Parameters
    ----------
    positions_lps_mm
        Shape (slices, 3): Image Position (Patient) from inferior to superior, at equal distances.
    """
    along_rows = plane.row * plane.column_spacing_mm  # one column further
    along_columns = plane.column * plane.row_spacing_mm  # one row further
    step_i, step_j, count_i, count_j = along_rows, along_columns, plane.columns, plane.rows
    if plane.in_plane.transpose:
        step_i, step_j, count_i, count_j = step_j, step_i, count_j, count_i
    origin = positions_lps_mm[0]
    if plane.in_plane.flip_i:
        origin, step_i = origin + step_i * (count_i - 1), -step_i
    if plane.in_plane.flip_j:
        origin, step_j = origin + step_j * (count_j - 1), -step_j
    affine = np.eye(4)
    affine[:3, 0] = step_i
    affine[:3, 1] = step_j
    affine[:3, 2] = (positions_lps_mm[-1] - positions_lps_mm[0]) / (len(positions_lps_mm) - 1)
    affine[:3, 3] = origin
    return affine


def positions_of(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Image Position (Patient) of each frame, shape (frames, 3), LPS mm.

    Raises
    ------
    GeometryMissing
        When it is absent or malformed in any frame.
    """
    return _stacked(frames, "Image Position (Patient)", [frame.position_lps_mm for frame in frames])


def _stacked(frames: Sequence[Frame], attribute: str, values: Sequence[Vector | None]) -> NDArray[np.float64]:
    """Shape (frames, components)."""
    if missing := [frame for frame, value in zip(frames, values, strict=True) if value is None]:
        raise GeometryMissing(
            f"{attribute} is missing or malformed in {len(missing)} of {len(frames)} slices ({named(missing)})"
        )
    return np.array(values, dtype=np.float64)


def _require_possible(
    frames: Sequence[Frame], orientations: NDArray[np.float64], spacings_mm: NDArray[np.float64]
) -> None:
    if bad := _chosen(frames, spacings_mm.min(axis=1) <= 0):
        raise GeometryMissing(f"Pixel Spacing is not positive ({named(bad)})")
    cosines = orientations.reshape(-1, 2, 3)
    off_unit = np.abs(cosines @ cosines.swapaxes(1, 2) - np.eye(2)).max(axis=(1, 2))
    if bad := _chosen(frames, off_unit > 2 * UNIT_TOLERANCE):
        raise GeometryMissing(f"Image Orientation (Patient) is not a pair of orthogonal unit vectors ({named(bad)})")


def _require_same(frames: Sequence[Frame], attribute: str, values: Sequence[object]) -> None:
    _refuse_odd_ones(frames, attribute, np.array([value == values[0] for value in values]))


def _require_close(
    frames: Sequence[Frame], attribute: str, values: NDArray[np.float64], tolerance: float, reach: float
) -> None:
    """Refuse values that differ; ``reach`` makes a difference into mm at the far edge of the image."""
    off = np.abs(values - values[0]).max(axis=1)
    _refuse_odd_ones(frames, attribute, off <= tolerance, f" by {off.max() * reach:.2f} mm at the far edge of an image")


def _refuse_odd_ones(frames: Sequence[Frame], attribute: str, like_first: NDArray[np.bool_], how_far: str = "") -> None:
    """Name the slices of the minority."""
    if like_first.all():
        return
    minority = like_first if like_first.sum() * 2 < len(frames) else ~like_first
    odd = _chosen(frames, minority)
    raise MixedGeometry(
        f"{attribute} differs within the series{how_far}: {len(odd)} of {len(frames)} slices ({named(odd)})"
    )


def _chosen(frames: Sequence[Frame], mask: NDArray[np.bool_]) -> list[Frame]:
    return [frame for frame, is_chosen in zip(frames, mask, strict=True) if is_chosen]
