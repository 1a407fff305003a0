"""Phantoms as a site's data: DICOM folders, NIfTI files and the manifest of both."""

import csv
import gzip

import numpy as np

from covnode.learn.nifti import _HEADER
from covnode.learn.phantom import PhantomPreset, make_phantom, write_phantom


def small_phantom(preset=PhantomPreset.COVID_SEVERE, seed=3):
    return make_phantom(preset, seed=seed, slices=24, size=96)


def write_nifti(path, phantom, *, flipped=False, slope=1.0):
    """As scanners' converters write: RAS frame, first axis to the right or the left."""
    voxels = phantom.voxels_hu.transpose(2, 1, 0)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ phantom.affine_lps_mm
    if flipped:
        affine[:3, 3] += affine[:3, 0] * (voxels.shape[0] - 1)
        affine[:3, 0] *= -1
        voxels = voxels[::-1]
    header = np.zeros(1, _HEADER)
    header["sizeof_hdr"], header["magic"], header["vox_offset"] = 348, b"n+1", 352
    header["dim"], header["datatype"], header["bitpix"] = [3, *voxels.shape, 1, 1, 1, 1], 4, 16
    header["scl_slope"], header["scl_inter"], header["sform_code"], header["srow"] = slope, 0, 1, affine[:3]
    content = header.tobytes() + bytes(4) + np.asfortranarray(voxels / slope).astype("<i2").tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_site(folder, column="label"):
    """Six patients, half of them with COVID-19, one with two volumes; one NIfTI, the others DICOM."""
    rows = []
    for number in range(6):
        covid = number % 2 == 0
        phantom = small_phantom(PhantomPreset.COVID_SEVERE if covid else PhantomPreset.NORMAL, seed=number)
        name = f"p{number}.nii.gz" if number == 0 else f"p{number}"
        if number == 0:
            write_nifti(folder / name, phantom)
        else:
            write_phantom(phantom, folder / name)
            for truth in ("truth.json", "truth.npz"):
                (folder / name / truth).unlink()
        rows.append((name, f"patient-{number}", int(covid) if column == "label" else 55 * covid))
    rows.append(("p1", "patient-1", rows[1][2]))
    manifest = folder / "data.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "patient", column), *rows])
    return manifest
