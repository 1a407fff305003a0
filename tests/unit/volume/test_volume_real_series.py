"""Real chest CT series of two manufacturers, read where they lie."""

import tarfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_rescale
from stored_ct import series_of

from covnode.volume.loading import load_volume

DATA = Path(__file__).parents[4] / "shared" / "data" / "lung-pet-ct-dx"
SERIES = {
    "A0001-philips-B-5mm": (64, 5.0, "B"),
    "A0001-philips-L-5mm": (64, 5.0, "L"),
    "A0002-siemens-B40f-8mm": (30, 8.0, "B40f"),
    "A0002-siemens-B70f-8mm": (30, 8.0, "B70f"),
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder ../shared/data with real series is absent")


@pytest.mark.parametrize("name", SERIES)
def test_real_series_equal_pydicoms_reading(tmp_path, name):
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    files = sorted(tmp_path.rglob("*.dcm"))
    volume = load_volume(series_of(files[0].parent))
    slices, spacing_mm, kernel = SERIES[name]
    datasets = sorted(map(pydicom.dcmread, files), key=lambda dataset: dataset.ImagePositionPatient[2])
    expected = np.stack([np.maximum(apply_rescale(dataset.pixel_array, dataset), -1024) for dataset in datasets])
    np.testing.assert_array_equal(volume.voxels_hu, expected)
    assert volume.voxels_hu.shape == (slices, 512, 512)
    assert volume.spacing_mm[0] == pytest.approx(spacing_mm, abs=1e-9)
    assert volume.acquisition.convolution_kernel == kernel
    assert volume.cautions == ()
    np.testing.assert_allclose(volume.affine_lps_mm[:3, 3], datasets[0].ImagePositionPatient)
    assert [frame.sop_instance_uid for frame in volume.frames] == [dataset.SOPInstanceUID for dataset in datasets]
    # A chest: air at the front corners, and the spine, the densest place, in the posterior half.
    bone = np.argwhere(volume.voxels_hu[slices // 2] > 400)
    assert volume.voxels_hu[:, 0, 0].max() < -900
    assert np.median(bone[:, 0]) > 256
