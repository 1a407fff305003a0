"""The masks of one analysis as a file: what the interlock later compares the SEG with.

Comes from pipeline.analysis when the masks are final; goes to the sender's interlock. Holds labels and geometry only,
no identity. numpy alone, so that the sender needs nothing else.
"""

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covnode.errors import ReportInvalid

# Lung labels lie in the low half of a byte, lesion labels in the high half.
_LESION_SHIFT = 4
_LABEL_BITS = 0x0F


@dataclass(frozen=True)
class StoredMasks:
    """Both masks on the canonical grid.

    Attributes
    ----------
    lung_labels, lesion_labels
        uint8, shape (k, j, i); the labels of ``Lung`` and ``Lesion``.
    affine_lps_mm
        float64, shape (4, 4): (i, j, k, 1) -> LPS mm of the voxel centre.
    """

    lung_labels: NDArray[np.uint8]
    lesion_labels: NDArray[np.uint8]
    affine_lps_mm: NDArray[np.float64]


def save_masks(
    path: Path, lungs: NDArray[np.uint8], lesions: NDArray[np.uint8], affine_lps_mm: NDArray[np.float64]
) -> None:
    """Write masks so that ``path`` holds all of them or is as it was; the same masks give the same bytes.

    Parameters
    ----------
    lungs, lesions
        uint8, shape (k, j, i), labels below 16.
    affine_lps_mm
        Shape (4, 4).

    Raises
    ------
    ReportInvalid
        Shapes differ or a label does not fit.
    """
    if lungs.shape != lesions.shape or lungs.ndim != 3 or affine_lps_mm.shape != (4, 4):
        raise ReportInvalid("the masks to store are not on one three-dimensional grid")
    if max(lungs.max(initial=0), lesions.max(initial=0)) > _LABEL_BITS:
        raise ReportInvalid("a label of the masks to store is above 15")
    labels = lungs.astype(np.uint8) | (lesions.astype(np.uint8) << np.uint8(_LESION_SHIFT))
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, labels=labels, affine_lps_mm=affine_lps_mm.astype(np.float64))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_masks(path: Path) -> StoredMasks:
    """Read what ``save_masks`` wrote.

    Raises
    ------
    ReportInvalid
        The file is absent, damaged or not of this form.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            labels, affine_lps_mm = stored["labels"], stored["affine_lps_mm"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ReportInvalid("the stored masks cannot be read") from error
    if labels.dtype != np.uint8 or labels.ndim != 3 or affine_lps_mm.shape != (4, 4):
        raise ReportInvalid("the stored masks are not of the expected form")
    return StoredMasks(labels & np.uint8(_LABEL_BITS), labels >> np.uint8(_LESION_SHIFT), affine_lps_mm)
