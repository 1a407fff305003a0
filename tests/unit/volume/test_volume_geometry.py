import itertools
import random

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_ct import AXIAL, field_hu

from covnode.imaging.orientation import to_native
from covnode.volume.loading import load_volume


def points_of(volume):
    """LPS of every voxel by the affine, shape (k, j, i, 3)."""
    k, j, i = np.indices(volume.voxels_hu.shape)
    homogeneous = np.stack([i, j, k, np.ones_like(i)], axis=-1).astype(float)
    return (homogeneous @ volume.affine_lps_mm.T)[..., :3]


def assert_every_voxel_is_where_the_affine_says(volume):
    difference = volume.voxels_hu - field_hu(points_of(volume))
    assert np.abs(difference).max() <= 1  # a value may round the other way
    assert np.mean(difference == 0) > 0.99


def assert_canonical(volume):
    axes = volume.affine_lps_mm[:3, :3]
    assert np.linalg.det(axes) > 0
    assert (np.argmax(np.abs(axes), axis=0) == [0, 1, 2]).all()
    assert (np.diag(axes) > 0).all()
    i_mm, j_mm, k_mm = np.linalg.norm(axes, axis=0)
    assert volume.spacing_mm == pytest.approx((k_mm, j_mm, i_mm), abs=1e-6)
    positions = [frame.position_mm for frame in volume.frames]
    assert positions == sorted(positions)


SIGNED_AXES = [
    (tuple(sign_row * np.array(first)), tuple(sign_column * np.array(second)))
    for first, second in (AXIAL, AXIAL[::-1])
    for sign_row, sign_column in itertools.product((1.0, -1.0), repeat=2)
]


@pytest.mark.parametrize(("row", "column"), SIGNED_AXES)
@pytest.mark.parametrize("upwards", [True, False])
def test_every_sign_and_turn_of_the_axes_gives_the_same_patient(make_series, row, column, upwards):
    volume = load_volume(
        make_series(row=row, column=column, slice_spacing_mm=2.5 if upwards else -2.5, origin_lps_mm=(1.0, -2.0, 3.0))
    )
    assert_canonical(volume)
    assert_every_voxel_is_where_the_affine_says(volume)
    assert volume.voxels_hu.dtype == np.int16
    assert volume.affine_lps_mm.dtype == np.float64
    assert volume.voxel_ml == pytest.approx(0.7 * 0.9 * 2.5 / 1000)


def rotation(x_deg, y_deg, z_deg):
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians((x_deg, y_deg, z_deg))), np.sin(np.radians((x_deg, y_deg, z_deg)))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.floats(-25, 25),
    st.floats(-25, 25),
    st.floats(-180, 180),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_oblique_series_in_any_file_order(make_series, x_deg, y_deg, z_deg, mirrored, seed):
    turn = rotation(x_deg, y_deg, z_deg)
    file_names = random.Random(seed).sample(range(12), 12)
    volume = load_volume(
        make_series(
            row=tuple(turn[:, 0]),
            column=tuple(-turn[:, 1] if mirrored else turn[:, 1]),
            file_order=file_names.__getitem__,
        )
    )
    assert np.linalg.det(volume.affine_lps_mm[:3, :3]) > 0
    assert volume.affine_lps_mm[2, 2] > 0
    assert_every_voxel_is_where_the_affine_says(volume)


@pytest.mark.parametrize(("row", "column"), SIGNED_AXES)
@pytest.mark.parametrize("tilt_deg", [-15.0, 20.0, 30.0])
@pytest.mark.parametrize("about", [0, 1], ids=["about x", "about y"])
def test_slices_of_a_tilted_gantry_stay_where_they_were_acquired(make_series, row, column, tilt_deg, about):
    # The planes are turned, the table moves along z: each slice lies beside the one below.
    turn = rotation(*np.roll([tilt_deg, 0.0, 0.0], about))
    recipe = {"row": tuple(turn @ row), "column": tuple(turn @ column), "stacked_along": (0.0, 0.0, 1.0)}
    volume = load_volume(make_series(**recipe))
    assert_every_voxel_is_where_the_affine_says(volume)
    np.testing.assert_allclose(volume.affine_lps_mm[:3, 2], [0, 0, 2.5], atol=1e-6)
    cosine = np.cos(np.radians(tilt_deg))
    assert volume.spacing_mm[0] == pytest.approx(2.5 * cosine, abs=1e-6)
    assert volume.voxel_ml == pytest.approx(0.7 * 0.9 * 2.5 * cosine / 1000)
    assert volume.cautions == (
        f"The gantry was tilted by {abs(tilt_deg):.1f} degrees: to find lungs and lesions the slices were sheared back "
        "by whole pixels; masks, positions and volumes are of the slices as they were acquired.",
    )


def test_a_stack_along_its_normal_is_not_called_tilted(make_series):
    turn = rotation(12.0, -7.0, 3.0)
    assert load_volume(make_series(row=tuple(turn[:, 0]), column=tuple(turn[:, 1]))).cautions == ()


@pytest.mark.parametrize(("row", "column"), SIGNED_AXES)
def test_frames_name_the_file_of_each_slice_in_its_stored_matrix(make_series, row, column):
    volume = load_volume(make_series(row=row, column=column, file_order=lambda index: (index * 5) % 12))
    for k, frame in enumerate(volume.frames):
        dataset = pydicom.dcmread(frame.path)
        assert frame.sop_instance_uid == dataset.SOPInstanceUID
        assert frame.sop_class_uid == dataset.SOPClassUID
        assert frame.frame_number is None
        assert frame.position_mm == pytest.approx(float(dataset.ImagePositionPatient[2]))
        stored_hu = dataset.pixel_array.astype(int) - 1024
        np.testing.assert_array_equal(to_native(volume.voxels_hu[k], volume.in_plane), stored_hu)


def test_files_that_share_one_uid_are_all_kept(make_series):
    def share_uid(dataset, index):
        dataset.SOPInstanceUID = "2.25.99"

    volume = load_volume(make_series(change=share_uid))
    assert len({frame.path for frame in volume.frames}) == 12
    assert_every_voxel_is_where_the_affine_says(volume)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(make_series):
    def round_position(dataset, index):
        dataset.ImagePositionPatient[2] = round(float(dataset.ImagePositionPatient[2]), 1)

    volume = load_volume(make_series(slice_spacing_mm=1.25, change=round_position))
    assert volume.spacing_mm[0] == pytest.approx(1.25, abs=0.01)


def test_acquisition_comes_from_the_headers(make_series):
    def give_contrast(dataset, index):
        dataset.ContrastBolusAgent = "Iomeprol"

    acquisition = load_volume(make_series(change=give_contrast)).acquisition
    assert acquisition.model_dump() == {
        "manufacturer": "Maker",
        "manufacturer_model_name": "Model",
        "convolution_kernel": "B40f",
        "slice_thickness_mm": 2.5,
        "kvp": 120.0,
        "contrast_agent": True,
    }
    assert load_volume(make_series()).acquisition.contrast_agent is None
