"""Figures of the lungs and lesions: volume, LungMask and LesionMask come in, Measures go to the result record.

Counts voxels and nothing else: every figure can be counted again from the masks of the SEG.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.records.result import PerSide, PerZone, SliceInvolvement, ZonesPerSide
from covnode.records.volume import CTVolume, Lesion, LesionMask, Lung, LungMask


@dataclass(frozen=True)
class Measures:
    """Volumes in ml and shares in percent.

    Attributes
    ----------
    affected_percent
        (ground glass + consolidation) / lung volume; None for a side without lung.
    affected_percent_of_zones
        The same of the upper, middle and lower third of each lung's own height.
    slices
        From the most superior to the most inferior.
    """

    lung_volume_ml: PerSide
    ground_glass_ml: PerSide
    consolidation_ml: PerSide
    affected_percent: PerSide
    affected_percent_of_zones: ZonesPerSide
    slices: tuple[SliceInvolvement, ...]


def measure(volume: CTVolume, lungs: LungMask, lesions: LesionMask) -> Measures:
    """Count the voxels of each lung and of its lesions.

    Parameters
    ----------
    volume
        Gives the size of a voxel and the positions of the slices.
    lungs, lesions
        On the volume's grid; a lesion counts for the lung that it lies in.
    """
    counts = _counts(lungs.labels, lesions.labels)
    voxel_ml = volume.voxel_ml
    ground_glass = counts[:, :, Lesion.GROUND_GLASS].sum(axis=0)
    consolidation = counts[:, :, Lesion.CONSOLIDATION].sum(axis=0)
    lung = counts.sum(axis=(0, 2))
    return Measures(
        lung_volume_ml=_per_side(lung * voxel_ml),
        ground_glass_ml=_per_side(ground_glass * voxel_ml),
        consolidation_ml=_per_side(consolidation * voxel_ml),
        affected_percent=percent_per_side(ground_glass + consolidation, lung),
        affected_percent_of_zones=ZonesPerSide(
            left=_zones(counts[:, Lung.LEFT]),
            right=_zones(counts[:, Lung.RIGHT]),
        ),
        slices=_slices(volume, counts),
    )


def _counts(lungs: NDArray[np.uint8], lesions: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels by slice, lung label and lesion label: shape (k, 3, 3)."""
    slices = [
        np.bincount((lung * np.uint8(3) + lesion).ravel(), minlength=9)
        for lung, lesion in zip(lungs, lesions, strict=True)
    ]
    counts = np.asarray(slices, dtype=np.int64).reshape(-1, 3, 3)
    counts[:, 0, :] = 0
    return counts


def _per_side(by_label: NDArray[np.float64]) -> PerSide:
    left, right = float(by_label[Lung.LEFT]), float(by_label[Lung.RIGHT])
    return PerSide(total=left + right, left=left, right=right)


def percent_per_side(affected: NDArray[np.int64], lung: NDArray[np.int64]) -> PerSide:
    """Return shares in percent from counts by Lung label, shape (3,); None where there is no lung."""
    return PerSide(
        total=_percent(int(affected.sum()), int(lung.sum())),
        left=_percent(int(affected[Lung.LEFT]), int(lung[Lung.LEFT])),
        right=_percent(int(affected[Lung.RIGHT]), int(lung[Lung.RIGHT])),
    )


def _zones(counts: NDArray[np.int64]) -> PerZone:
    """Measure the thirds of one lung's height, by its voxels of each lesion label: shape (k, 3)."""
    of_lung = counts[counts.any(axis=1)]
    lower, middle, upper = (_percent(int(third[:, 1:].sum()), int(third.sum())) for third in np.array_split(of_lung, 3))
    return PerZone(upper=upper, middle=middle, lower=lower)


def _percent(affected: int, lung: int) -> float | None:
    return 100.0 * affected / lung if lung else None


def _slices(volume: CTVolume, counts: NDArray[np.int64]) -> tuple[SliceInvolvement, ...]:
    lung = counts.sum(axis=(1, 2))
    affected = lung - counts[:, :, 0].sum(axis=1)
    order = range(len(volume.frames) - 1, -1, -1)
    return tuple(
        SliceInvolvement(
            index=index,
            position_mm=volume.frames[k].position_mm,
            affected_percent=_percent(int(affected[k]), int(lung[k])),
        )
        for index, k in enumerate(order)
    )
