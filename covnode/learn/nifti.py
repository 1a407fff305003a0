"""NIfTI-1 files as CT volumes: what training data are often kept as.

A path -> voxels in HU on the canonical grid (axes k, j, i: superior, posterior, left). Only learn reads it; the node's
own way in is DICOM. Source: the NIfTI-1 header (nifti1.h, https://nifti.nimh.nih.gov/nifti-1).
"""

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covnode.errors import ConfigurationError
from covnode.records.result import Acquisition
from covnode.records.volume import CTVolume, InPlane

_HEADER = np.dtype(
    [
        ("sizeof_hdr", "i4"), ("unused", "V36"), ("dim", "i2", 8), ("intent", "V14"), ("datatype", "i2"),
        ("bitpix", "i2"), ("slice_start", "i2"), ("pixdim", "f4", 8), ("vox_offset", "f4"), ("scl_slope", "f4"),
        ("scl_inter", "f4"), ("described", "V132"), ("qform_code", "i2"), ("sform_code", "i2"), ("quatern", "f4", 3),
        ("qoffset", "f4", 3), ("srow", "f4", (3, 4)), ("intent_name", "V16"), ("magic", "S4"),
    ]
)  # fmt: skip
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


def is_nifti(path: Path) -> bool:
    """Whether the name says so: .nii or .nii.gz."""
    return path.name.endswith((".nii", ".nii.gz"))


def read_nifti(path: Path) -> CTVolume:
    """Read a volume, turned and flipped (never interpolated) to the canonical grid; it has no frames.

    Raises
    ------
    ConfigurationError
        No NIfTI-1 file of one axial CT volume, or it lacks its orientation.
    """
    try:
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            content = gzip.decompress(content)
        header = np.frombuffer(content, _HEADER, count=1)[0]
        order: Literal["<", ">"] = "<" if header["sizeof_hdr"] == 348 else ">"
        header = np.frombuffer(content, _HEADER.newbyteorder(order), count=1)[0]
        shape = tuple(int(size) for size in header["dim"][1:4])
        kind = np.dtype(_TYPES[int(header["datatype"])]).newbyteorder(order)
        stored = np.frombuffer(content, kind, count=int(np.prod(shape)), offset=int(header["vox_offset"]))
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{path.name} is no NIfTI-1 volume: {type(error).__name__}.") from None
    if header["magic"] != b"n+1" or any(size > 1 for size in header["dim"][4 : header["dim"][0] + 1]):
        raise ConfigurationError(f"{path.name} is not one NIfTI-1 volume in one file.")
    slope = float(header["scl_slope"]) or 1.0
    scaled = stored.reshape(shape, order="F") * slope + float(header["scl_inter"]) * bool(header["scl_slope"])
    return _canonical(path, np.clip(np.rint(scaled), -1024, 3071).astype(np.int16), _affine_lps_mm(path, header))


def _affine_lps_mm(path: Path, header: np.void) -> NDArray[np.float64]:
    """(i, j, k, 1) of the file -> LPS mm; NIfTI's own frame is RAS."""
    affine = np.eye(4)
    if header["sform_code"] > 0:
        affine[:3] = header["srow"]
    elif header["qform_code"] > 0:
        b, c, d = (float(part) for part in header["quatern"])
        a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
        turned = [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
        sign = -1.0 if header["pixdim"][0] < 0 else 1.0
        affine[:3, :3] = np.array(turned) * header["pixdim"][1:4] * [1.0, 1.0, sign]
        affine[:3, 3] = header["qoffset"]
    else:
        raise ConfigurationError(f"{path.name} does not say how it lies in the patient (qform and sform are 0).")
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _canonical(path: Path, voxels_hu: NDArray[np.int16], affine: NDArray[np.float64]) -> CTVolume:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    along = [int(np.argmax(np.abs(directions[axis]))) for axis in range(3)]
    if sorted(along) != [0, 1, 2]:
        raise ConfigurationError(f"{path.name} lies oblique in the patient.")
    # Axes of the file in the order left, posterior, superior; then each turned to grow that way.
    voxels_hu, affine = voxels_hu.transpose(along), affine[:, [*along, 3]]
    for axis in range(3):
        if affine[axis, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (voxels_hu.shape[axis] - 1)
            affine[:3, axis] *= -1
            voxels_hu = np.flip(voxels_hu, axis)
    i_mm, j_mm, k_mm = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return CTVolume(
        voxels_hu=np.ascontiguousarray(voxels_hu.transpose(2, 1, 0)),
        affine_lps_mm=affine,
        spacing_mm=(k_mm, j_mm, i_mm),
        frames=(),
        in_plane=InPlane(transpose=False, flip_j=False, flip_i=False),
        acquisition=Acquisition(),
    )
