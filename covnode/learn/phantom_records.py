"""What a phantom is: the synthetic chest CT and the exact truth about it.

Made by phantom.make_phantom; goes to phantom_dicom (files), to tests and to training. Holds no I/O.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class PhantomPreset(StrEnum):
    """What the lungs of a phantom show."""

    NORMAL = "normal"
    COVID_MILD = "covid-mild"
    COVID_MODERATE = "covid-moderate"
    COVID_SEVERE = "covid-severe"
    COVID_CRITICAL = "covid-critical"
    CONSOLIDATION = "consolidation"
    EFFUSION = "effusion"
    NODULES = "nodules"
    EMPHYSEMA = "emphysema"


@dataclass(frozen=True)
class Protocol:
    """How a phantom was scanned and reconstructed, beside its body.

    Attributes
    ----------
    noise
        Factor of the noise that the seed draws.
    sharpness
        Factor of the kernel's cut-off frequency: below 1 softer and with coarser noise, above 1 sharper.
    averaged
        Thin slices that make one: more than 1 for slices as thick as they are far apart.
    """

    noise: float = 1.0
    sharpness: float = 1.0
    averaged: int = 1


@dataclass(frozen=True)
class Phantom:
    """A synthetic chest CT on the canonical grid (axes k, j, i: superior, posterior, left).

    Attributes
    ----------
    voxels_hu
        int16, shape (k, j, i), Hounsfield units.
    lung_labels
        uint8, same shape, 0 or a Lung label; holds lesions and the vessels inside the lungs, never ``airway_mask``.
    lesion_labels
        uint8, same shape, 0 or a Lesion label; never outside the lungs. Nodules and emphysema are none.
    airway_mask
        bool, same shape: trachea, main and lobar bronchi with their walls.
    affine_lps_mm
        float64, shape (4, 4): (i, j, k, 1) -> LPS mm of the voxel centre.
    contrast_agent
        Blood is enhanced.
    """

    preset: PhantomPreset
    seed: int
    voxels_hu: NDArray[np.int16]
    lung_labels: NDArray[np.uint8]
    lesion_labels: NDArray[np.uint8]
    airway_mask: NDArray[np.bool_]
    affine_lps_mm: NDArray[np.float64]
    contrast_agent: bool

    @property
    def normal_lps(self) -> NDArray[np.float64]:
        """Unit vector at right angles to the slices that points to superior."""
        normal: NDArray[np.float64] = np.cross(self.affine_lps_mm[:3, 0], self.affine_lps_mm[:3, 1])
        return normal / np.linalg.norm(normal)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distances of the slices' planes, of rows (j) and of columns (i)."""
        i_mm, j_mm = (float(length) for length in np.linalg.norm(self.affine_lps_mm[:3, :2], axis=0))
        return float(self.normal_lps @ self.affine_lps_mm[:3, 2]), j_mm, i_mm

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing_mm)) / 1000.0
