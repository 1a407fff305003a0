"""Phantoms as CT volumes, and the figures that tests of lungs and lesions compare."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from covnode.infer.lungs import segment_lungs
from covnode.learn.phantom import PhantomPreset, make_phantom
from covnode.records.result import Acquisition
from covnode.records.volume import CTVolume, InPlane, SourceFrame

PLAIN = InPlane(transpose=False, flip_j=False, flip_i=False)


@cache
def phantom(preset, seed=5):
    return make_phantom(PhantomPreset(preset), slices=50, seed=seed, size=144)


def volume_of(voxels_hu, spacing_mm, affine_lps_mm=None, **acquisition):
    if affine_lps_mm is None:
        affine_lps_mm = np.diag([*spacing_mm[::-1], 1.0])
    normal = affine_lps_mm[:3, 2] / spacing_mm[0]
    frames = tuple(
        SourceFrame(
            Path(f"{k}.dcm"),
            "1.2.840.10008.5.1.4.1.1.2",
            f"1.2.{k}",
            None,
            float(normal @ affine_lps_mm[:3] @ [0, 0, k, 1]),
        )
        for k in range(len(voxels_hu))
    )
    return CTVolume(voxels_hu, affine_lps_mm, spacing_mm, frames, PLAIN, Acquisition(**acquisition))


@cache
def phantom_lungs(preset, seed=5):
    return segment_lungs(phantom_ct(preset, seed))


@cache
def phantom_ct(preset, seed=5):
    made = phantom(preset, seed)
    return volume_of(made.voxels_hu, made.spacing_mm, made.affine_lps_mm)


def changed(volume, voxels_hu):
    return replace(volume, voxels_hu=np.ascontiguousarray(voxels_hu))


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / max(1, np.count_nonzero(one) + np.count_nonzero(other))


def places_mm(volume):
    """Offsets in mm along k, j and i from the middle of the grid; they broadcast to its shape."""
    shape = volume.voxels_hu.shape
    return [
        (index - (size - 1) / 2) * spacing
        for index, size, spacing in zip(np.indices(shape, sparse=True), shape, volume.spacing_mm, strict=True)
    ]
