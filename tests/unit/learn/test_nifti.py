"""NIfTI files on the canonical grid: equal to the DICOM of the same phantom, whichever way they are stored."""

import numpy as np
import pytest
import SimpleITK
from site_volumes import small_phantom, write_nifti

from covnode.errors import ConfigurationError
from covnode.learn.nifti import read_nifti


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_a_volume_comes_back_on_the_canonical_grid(tmp_path, flipped, slope):
    phantom = small_phantom()
    write_nifti(tmp_path / "a.nii.gz", phantom, flipped=flipped, slope=slope)
    volume = read_nifti(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.voxels_hu, phantom.voxels_hu)
    assert np.allclose(volume.affine_lps_mm, phantom.affine_lps_mm, atol=1e-3)
    assert volume.spacing_mm == pytest.approx(phantom.spacing_mm, abs=1e-4)


def test_a_file_of_an_independent_writer_is_read_alike(tmp_path):
    # Its axes are left, posterior, superior, as an image of SimpleITK has them; it writes qform and sform.
    phantom = small_phantom()
    image = SimpleITK.GetImageFromArray(phantom.voxels_hu)
    image.SetSpacing(phantom.spacing_mm[::-1])
    image.SetOrigin(phantom.affine_lps_mm[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii.gz"))
    volume = read_nifti(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.voxels_hu, phantom.voxels_hu)
    assert np.allclose(volume.affine_lps_mm, phantom.affine_lps_mm, atol=1e-3)


def test_what_is_no_volume_is_refused(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"no volume")
    with pytest.raises(ConfigurationError, match="no NIfTI-1 volume"):
        read_nifti(tmp_path / "a.nii")
    write_nifti(tmp_path / "b.nii", small_phantom())
    content = bytearray((tmp_path / "b.nii").read_bytes())
    content[252:256] = bytes(4)
    (tmp_path / "b.nii").write_bytes(content)
    with pytest.raises(ConfigurationError, match="does not say how it lies"):
        read_nifti(tmp_path / "b.nii")
    (tmp_path / "b.nii").write_bytes(content[:5000])
    with pytest.raises(ConfigurationError, match="no NIfTI-1 volume"):
        read_nifti(tmp_path / "b.nii")
