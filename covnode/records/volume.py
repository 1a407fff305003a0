"""A CT volume and the masks on it, all on one canonical grid.

Canonical grid: array axes are (k, j, i); i grows to the patient's left, j to posterior, k to superior (each the
nearest patient axis, so that an oblique series keeps its own axes). Frame of reference: DICOM patient coordinates,
LPS, mm (PS3.3 C.7.6.2.1.1). Comes from volume; goes to infer and report.
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covnode.records.result import Acquisition, ModelIdentity

AIR_HU = -1024
"""What padding and everything below it becomes: the lowest value of a 12 bit CT."""


class Lung(IntEnum):
    """Labels of LungMask.labels; right and left are the patient's."""

    RIGHT = 1
    LEFT = 2


class Lesion(IntEnum):
    """Labels of LesionMask.labels."""

    GROUND_GLASS = 1
    CONSOLIDATION = 2


@dataclass(frozen=True)
class InPlane:
    """How the stored pixel matrix (rows, columns) becomes the canonical (j, i): transpose first, then flips."""

    transpose: bool
    flip_j: bool
    flip_i: bool


@dataclass(frozen=True)
class SourceFrame:
    """The stored frame that slice k came from.

    Attributes
    ----------
    frame_number
        1-based frame in a multi-frame instance, None in a single-frame one.
    position_mm
        Image Position (Patient) projected on the slice normal that points to superior.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    position_mm: float


@dataclass(frozen=True)
class CTVolume:
    """A chest CT in Hounsfield units on the canonical grid.

    Attributes
    ----------
    voxels_hu
        int16, shape (k, j, i), Hounsfield units; padding is AIR_HU.
    affine_lps_mm
        float64, shape (4, 4): (i, j, k, 1) -> LPS mm of the voxel centre.
        Sheared where the gantry was tilted: k then leans off the slices' normal.
    spacing_mm
        (k, j, i) distances of the slices' planes, of rows and of columns.
    frames
        One per k, from inferior to superior.
    in_plane
        The same for all slices.
    cautions
        Sentences for the report on what was found and handled (duplicates dropped, ...).
    """

    voxels_hu: NDArray[np.int16]
    affine_lps_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    frames: tuple[SourceFrame, ...]
    in_plane: InPlane
    acquisition: Acquisition
    cautions: tuple[str, ...] = ()

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml, by the affine's determinant."""
        return float(abs(np.linalg.det(self.affine_lps_mm[:3, :3]))) / 1000.0


@dataclass(frozen=True)
class LungMask:
    """Lungs on the volume's grid: uint8 (k, j, i), 0 or a Lung label."""

    labels: NDArray[np.uint8]
    model: ModelIdentity


@dataclass(frozen=True)
class LesionMask:
    """Lesions on the volume's grid: uint8 (k, j, i), 0 or a Lesion label; never outside the lungs."""

    labels: NDArray[np.uint8]
    model: ModelIdentity
