import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covnode.imaging.orientation import in_plane_of, to_canonical, to_native
from covnode.records.volume import InPlane

in_planes = st.builds(InPlane, st.booleans(), st.booleans(), st.booleans())
planes = hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5))


@given(planes, in_planes)
def test_native_undoes_canonical_and_the_other_way_round(plane, in_plane):
    np.testing.assert_array_equal(to_native(to_canonical(plane, in_plane), in_plane), plane)
    np.testing.assert_array_equal(to_canonical(to_native(plane, in_plane), in_plane), plane)


@given(planes, in_planes)
def test_no_value_is_copied_or_changed(plane, in_plane):
    canonical = to_canonical(plane, in_plane)
    assert np.shares_memory(canonical, plane)
    assert sorted(canonical.ravel()) == sorted(plane.ravel())


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (sign_row * axis_row, sign_column * axis_column)
        for axis_row, axis_column in (np.eye(3)[:2], np.eye(3)[1::-1])
        for sign_row, sign_column in itertools.product((1, -1), repeat=2)
    ],
)
def test_axes_grow_to_left_and_posterior_for_every_sign_and_turn(row, column):
    # Each pixel holds its own coordinates: x along the patient's left, y to posterior.
    r, c = np.mgrid[:3, :4]
    x = c * row[0] + r * column[0]
    y = c * row[1] + r * column[1]
    in_plane = in_plane_of(row, column)
    assert (np.diff(to_canonical(x, in_plane), axis=1) == 1).all()
    assert (np.diff(to_canonical(y, in_plane), axis=0) == 1).all()


def test_at_45_degrees_the_matrix_is_not_transposed():
    half = np.sqrt(0.5)
    assert in_plane_of((half, half, 0), (-half, half, 0)) == InPlane(transpose=False, flip_j=False, flip_i=False)


@given(st.floats(-180, 180), st.booleans())
def test_after_the_turn_each_axis_is_the_nearest_patient_axis(angle_deg, mirrored):
    angle = np.radians(angle_deg)
    row = np.array([np.cos(angle), np.sin(angle), 0])
    column = np.array([-np.sin(angle), np.cos(angle), 0]) * (-1 if mirrored else 1)
    in_plane = in_plane_of(row, column)
    along_i, along_j = (column, row) if in_plane.transpose else (row, column)
    along_i = -along_i if in_plane.flip_i else along_i
    along_j = -along_j if in_plane.flip_j else along_j
    assert along_i[0] >= np.sqrt(0.5) - 1e-9
    assert along_j[1] >= np.sqrt(0.5) - 1e-9
