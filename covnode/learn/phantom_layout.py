"""How a phantom lies in its files: patient position, order of instances, oblique axes, gantry tilt, pixel shape.

Takes a Phantom and a Layout; gives the stored pixel matrices with their DICOM geometry to phantom_dicom.
The voxels and the truth stay on the canonical grid and only coordinates turn; but slices of a tilted gantry show other
planes of the body, so voxels and truth are sampled on these.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covnode.learn.phantom_records import Phantom

Vector = NDArray[np.float64]


class PatientPosition(StrEnum):
    """Patient Position (PS3.3 C.7.3.1.1.2)."""

    HFS = "HFS"
    HFP = "HFP"
    HFDR = "HFDR"
    HFDL = "HFDL"
    FFS = "FFS"
    FFP = "FFP"
    FFDR = "FFDR"
    FFDL = "FFDL"


class InstanceOrder(StrEnum):
    """Which slice has Instance Number 1; file names follow the Instance Number."""

    SUPERIOR_FIRST = "superior-first"
    INFERIOR_FIRST = "inferior-first"
    INTERLEAVED = "interleaved"
    SHUFFLED = "shuffled"


# LPS directions of a stored row (to growing columns) and of a stored column (to growing rows), for an image that
# is not turned for display: "down" is towards the table, and feet-first images are seen from the head.
_ROW_AND_COLUMN_LPS = {
    PatientPosition.HFS: ((1, 0, 0), (0, 1, 0)),
    PatientPosition.HFP: ((-1, 0, 0), (0, -1, 0)),
    PatientPosition.HFDR: ((0, 1, 0), (-1, 0, 0)),
    PatientPosition.HFDL: ((0, -1, 0), (1, 0, 0)),
    PatientPosition.FFS: ((-1, 0, 0), (0, 1, 0)),
    PatientPosition.FFP: ((1, 0, 0), (0, -1, 0)),
    PatientPosition.FFDR: ((0, -1, 0), (-1, 0, 0)),
    PatientPosition.FFDL: ((0, 1, 0), (1, 0, 0)),
}


@dataclass(frozen=True)
class Layout:
    """How the files hold the phantom.

    Attributes
    ----------
    oblique_deg
        The whole grid is turned about its centre, first about the patient's x axis, then about y.
    tilt_deg
        Gantry tilt about the patient's x axis: positive lifts the back of each slice; the table moves along z.
    column_step
        Keeps every n-th column of the canonical grid: pixels n times as wide as high.
    enhanced
        One multi-frame Enhanced CT instance instead of one CT instance a slice.
    """

    patient_position: PatientPosition = PatientPosition.HFS
    instance_order: InstanceOrder = InstanceOrder.SUPERIOR_FIRST
    oblique_deg: tuple[float, float] = (0.0, 0.0)
    tilt_deg: float = 0.0
    column_step: int = 1
    enhanced: bool = False


@dataclass(frozen=True)
class StoredFrame:
    """One slice as it is stored.

    Attributes
    ----------
    instance_number
        1-based; the frame number in an enhanced instance.
    stored
        uint16, (rows, columns): HU + 1024.
    position_lps_mm
        Image Position (Patient): centre of the first stored pixel.
    """

    instance_number: int
    stored: NDArray[np.uint16]
    position_lps_mm: Vector


@dataclass(frozen=True)
class StoredSeries:
    """All slices by instance number, and the geometry that they share (PS3.3 C.7.6.2).

    Attributes
    ----------
    orientation_lps
        Image Orientation (Patient), six cosines.
    pixel_spacing_mm
        Pixel Spacing: between rows, between columns.
    """

    frames: tuple[StoredFrame, ...]
    orientation_lps: Vector
    pixel_spacing_mm: tuple[float, float]
    slice_spacing_mm: float
    tilt_deg: float


def laid_out(phantom: Phantom, layout: Layout) -> Phantom:
    """Return the phantom with the layout's axes and pixel shape: what the truth is told about."""
    if layout.tilt_deg:
        phantom = _on_tilted_planes(phantom, float(np.deg2rad(layout.tilt_deg)))
    step = layout.column_step
    affine = phantom.affine_lps_mm.copy()
    affine[:3, 0] *= step
    shape = np.array(phantom.voxels_hu[:, :, ::step].shape[::-1])
    centre = (affine @ [*((shape - 1) / 2), 1.0])[:3]
    turn = np.eye(4)
    turn[:3, :3] = _rotation(*layout.oblique_deg)
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    return replace(
        phantom,
        voxels_hu=phantom.voxels_hu[:, :, ::step],
        lung_labels=phantom.lung_labels[:, :, ::step],
        lesion_labels=phantom.lesion_labels[:, :, ::step],
        airway_mask=phantom.airway_mask[:, :, ::step],
        affine_lps_mm=turn @ affine,
    )


def _on_tilted_planes(phantom: Phantom, tilt: float) -> Phantom:
    """Sample the phantom, whose slices lie across z, on planes through their centres that lean by an angle in rad."""
    slices, rows, _ = phantom.voxels_hu.shape
    slice_mm, row_mm, _ = phantom.spacing_mm
    k, j = np.indices((slices, rows))
    off = j - (rows - 1) / 2
    places = [k + off * np.sin(tilt) * row_mm / slice_mm, off * np.cos(tilt) + (rows - 1) / 2]

    def sampled(voxels: NDArray[Any], order: int) -> NDArray[Any]:
        # Beyond its first and last slice and row the phantom goes on as it ends.
        columns = np.moveaxis(voxels, 2, 0)
        planes = [ndimage.map_coordinates(column, places, order=order, mode="nearest") for column in columns]
        return np.stack(planes, axis=2)

    affine = phantom.affine_lps_mm.copy()
    affine[:3, 1] = [0.0, row_mm * np.cos(tilt), row_mm * np.sin(tilt)]
    affine[:3, 3] += (phantom.affine_lps_mm[:3, 1] - affine[:3, 1]) * (rows - 1) / 2
    return replace(
        phantom,
        voxels_hu=sampled(phantom.voxels_hu, 1),
        lung_labels=sampled(phantom.lung_labels, 0),
        lesion_labels=sampled(phantom.lesion_labels, 0),
        airway_mask=sampled(phantom.airway_mask, 0),
        affine_lps_mm=affine,
    )


def _rotation(about_x_deg: float, about_y_deg: float) -> Vector:
    a, b = np.deg2rad(about_x_deg), np.deg2rad(about_y_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rotation: Vector = about_y @ about_x
    return rotation


def store(phantom: Phantom, layout: Layout) -> StoredSeries:
    """Return the slices as the layout stores them.

    Parameters
    ----------
    phantom
        As laid_out returned it.
    """
    row, column = (np.array(direction) for direction in _ROW_AND_COLUMN_LPS[layout.patient_position])
    planes = phantom.voxels_hu + np.int16(1024)
    turned = row[1] != 0
    if turned:
        planes = planes.transpose(0, 2, 1)
    planes = planes[:, :: int(column.sum()), :: int(row.sum())].astype(np.uint16)
    # A direction that runs against its canonical axis starts at that axis' last voxel.
    slices, rows_j, columns_i = phantom.voxels_hu.shape
    first = np.where((row + column)[:2] < 0, [columns_i - 1, rows_j - 1], 0)
    spacing_k, spacing_j, spacing_i = phantom.spacing_mm
    axes_lps = phantom.affine_lps_mm[:3, :2] / [spacing_i, spacing_j]
    numbers = _instance_numbers(layout.instance_order, slices, phantom.seed)
    frames = [
        StoredFrame(int(numbers[k]), planes[k], (phantom.affine_lps_mm @ [first[0], first[1], k, 1.0])[:3])
        for k in range(slices)
    ]
    return StoredSeries(
        frames=tuple(sorted(frames, key=lambda frame: frame.instance_number)),
        orientation_lps=np.concatenate([axes_lps @ row[:2], axes_lps @ column[:2]]),
        pixel_spacing_mm=(spacing_i, spacing_j) if turned else (spacing_j, spacing_i),
        slice_spacing_mm=spacing_k,
        tilt_deg=layout.tilt_deg,
    )


def _instance_numbers(order: InstanceOrder, slices: int, seed: int) -> NDArray[np.int64]:
    """Instance Number of each k, from inferior to superior."""
    rising = np.arange(1, slices + 1)
    if order is InstanceOrder.INFERIOR_FIRST:
        return rising
    if order is InstanceOrder.SUPERIOR_FIRST:
        return rising[::-1]
    if order is InstanceOrder.INTERLEAVED:
        return np.argsort(np.argsort((rising - 1) % 2, kind="stable")) + 1
    return np.random.default_rng(seed).permutation(rising)
