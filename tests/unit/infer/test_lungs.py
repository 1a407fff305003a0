import numpy as np
import pytest
from phantom_cases import changed, dice, phantom, phantom_ct, phantom_lungs, places_mm, volume_of

from covnode.errors import LungsNotFound
from covnode.infer.lungs import segment_lungs
from covnode.records.volume import Lung


@pytest.fixture(scope="module")
def normal():
    return phantom_ct("normal")


@pytest.fixture(scope="module")
def normal_lungs(normal):
    return phantom_lungs("normal").labels


@pytest.mark.parametrize(
    ("preset", "least"), [("normal", 0.99), ("covid-mild", 0.985), ("covid-severe", 0.965), ("consolidation", 0.94)]
)
def test_each_lung_lies_on_the_true_one(preset, least):
    found = phantom_lungs(preset)
    truth = phantom(preset).lung_labels
    assert found.labels.dtype == np.uint8
    assert set(np.unique(found.labels)) == {0, Lung.RIGHT, Lung.LEFT}
    for side in Lung:
        assert dice(found.labels == side, truth == side) > least


@pytest.mark.parametrize(("preset", "least"), [("covid-severe", 0.6), ("consolidation", 0.6)])
def test_consolidation_stays_inside_the_lung(preset, least):
    found = phantom_lungs(preset).labels > 0
    consolidation = phantom(preset).lesion_labels == 2
    assert np.count_nonzero(found & consolidation) > least * np.count_nonzero(consolidation)


def test_ground_glass_stays_inside_the_lung():
    found = phantom_lungs("covid-severe").labels > 0
    ground_glass = phantom("covid-severe").lesion_labels == 1
    assert np.count_nonzero(found & ground_glass) > 0.97 * np.count_nonzero(ground_glass)


def test_slices_whose_lung_is_ground_glass_alone_are_kept(normal):
    lung = phantom("normal").lung_labels > 0
    lowest = int(np.flatnonzero(lung.sum(axis=(1, 2)) > 200)[0])
    filled = lung.copy()
    filled[lowest + 4 :] = False
    voxels = normal.voxels_hu.copy()
    voxels[filled] = np.maximum(voxels[filled], -400)
    found = segment_lungs(changed(normal, voxels)).labels > 0
    assert np.count_nonzero(found & filled) > 0.8 * np.count_nonzero(filled)


def test_right_is_the_patients_right(normal, normal_lungs):
    # i grows to the patient's left.
    middle = normal.voxels_hu.shape[2] / 2
    assert np.argwhere(normal_lungs == Lung.RIGHT)[:, 2].mean() < middle - 20
    assert np.argwhere(normal_lungs == Lung.LEFT)[:, 2].mean() > middle + 20


def test_a_mirrored_patient_has_mirrored_lungs(normal, normal_lungs):
    mirrored = segment_lungs(changed(normal, normal.voxels_hu[:, :, ::-1])).labels[:, :, ::-1]
    for side, other in ((Lung.RIGHT, Lung.LEFT), (Lung.LEFT, Lung.RIGHT)):
        assert dice(mirrored == side, normal_lungs == other) > 0.99


def test_the_same_volume_gives_the_same_mask(normal, normal_lungs):
    np.testing.assert_array_equal(segment_lungs(normal).labels, normal_lungs)


def test_trachea_and_main_bronchi_are_left_out(normal, normal_lungs):
    lumen = phantom("normal").airway_mask & (normal.voxels_hu < -900)
    carina = 31
    assert np.count_nonzero(lumen[carina:]) > 300
    assert np.count_nonzero(lumen[carina:] & (normal_lungs[carina:] > 0)) < 0.01 * np.count_nonzero(lumen[carina:])


def test_room_and_table_are_left_out(normal, normal_lungs):
    truth = phantom("normal").lung_labels > 0
    outside = (normal_lungs > 0) & ~truth
    assert np.count_nonzero(outside) < 0.015 * np.count_nonzero(truth)
    assert not normal_lungs[:, [0, -1]].any()
    assert not normal_lungs[:, :, [0, -1]].any()


def test_bowel_gas_under_the_diaphragm_is_left_out(normal):
    k, j, i = places_mm(normal)
    gas = np.sqrt((k + 118) ** 2 + (j + 20) ** 2 + (i - 70) ** 2) < 28
    voxels = normal.voxels_hu.copy()
    voxels[gas] = -995
    found = segment_lungs(changed(normal, voxels)).labels
    assert not found[gas].any()
    assert dice(found > 0, phantom("normal").lung_labels > 0) > 0.99


def joined_in_front(widest, line_hu):
    """The normal phantom with lungs that touch in front wherever they are near, and where: a line of line_hu."""
    volume, truth = phantom_ct("normal"), phantom("normal").lung_labels
    voxels, between = volume.voxels_hu.copy(), np.zeros(truth.shape, dtype=bool)
    for k, j in np.ndindex(truth.shape[:2]):
        right, left = (np.flatnonzero(truth[k, j] == side) for side in Lung)
        if len(right) and len(left) and left[0] - right[-1] <= widest:
            between[k, j, right[-1] + 1 : left[0]] = True
            voxels[k, j, right[-1] + 1 : left[0]] = -850
            voxels[k, j, (right[-1] + left[0]) // 2] = line_hu
    assert np.count_nonzero(between) > 200
    return changed(volume, voxels), between


# Without a line only the width of the contact can part the lungs.
@pytest.mark.parametrize(("widest", "line_hu"), [(6, -560), (6, -850), (12, -560)])
def test_lungs_that_touch_are_parted_at_the_junction_line(widest, line_hu):
    volume, between = joined_in_front(widest, line_hu)
    truth = phantom("normal").lung_labels
    found = segment_lungs(volume).labels
    for side in Lung:
        assert dice((found == side) & ~between, (truth == side) & ~between) > 0.98


def test_a_lung_cut_off_by_the_field_of_view_is_kept(normal, normal_lungs):
    first = int(np.flatnonzero((normal_lungs > 0).any(axis=(0, 1)))[0]) + 9
    found = segment_lungs(changed(normal, normal.voxels_hu[:, :, first:])).labels
    assert dice(found > 0, normal_lungs[:, :, first:] > 0) > 0.97


def test_a_single_lung_keeps_its_side(normal):
    voxels = normal.voxels_hu.copy()
    truth = phantom("normal").lung_labels
    right = truth == Lung.RIGHT
    voxels[right] = 30
    found = segment_lungs(changed(normal, voxels)).labels
    assert dice(found == Lung.LEFT, truth == Lung.LEFT) > 0.97
    assert np.count_nonzero(found == Lung.RIGHT) < 0.02 * np.count_nonzero(right)


def test_thick_slices_of_a_sharp_kernel_give_the_same_lungs(normal):
    noise = np.random.default_rng(1).normal(0, 90, normal.voxels_hu.shape)
    noisy = np.clip(normal.voxels_hu + noise, -1024, 3071).astype(np.int16)
    found = segment_lungs(changed(normal, noisy)).labels
    for side in Lung:
        assert dice(found == side, phantom("normal").lung_labels == side) > 0.975


def test_lungs_destroyed_by_emphysema_are_lungs(normal):
    lung = phantom("normal").lung_labels > 0
    voxels = normal.voxels_hu.copy()
    voxels[lung] = np.where(voxels[lung] < -700, -965, voxels[lung])
    found = segment_lungs(changed(normal, voxels)).labels
    assert dice(found > 0, lung) > 0.98


def cylinder(inside_hu, radius_mm=110.0):
    spacing_mm = (5.0, 2.0, 2.0)
    volume = volume_of(np.full((40, 192, 192), -1000, dtype=np.int16), spacing_mm)
    _, j, i = places_mm(volume)
    body = np.broadcast_to(np.hypot(j, i) < radius_mm, volume.voxels_hu.shape)
    volume.voxels_hu[body] = inside_hu
    return volume, body


def bottle():
    """Five litres of air in a wall of plastic."""
    volume, body = cylinder(100)
    _, j, i = places_mm(volume)
    volume.voxels_hu[body & (np.hypot(j, i) < 95)] = -1000
    return volume


def head():
    """A skull with a nasal cavity and mastoid cells: dark, but far less than lungs."""
    volume, body = cylinder(40, radius_mm=85.0)
    k, j, i = places_mm(volume)
    volume.voxels_hu[body & (np.abs(np.hypot(j, i) - 78) < 6)] = 900
    volume.voxels_hu[(np.abs(k) < 25) & (np.abs(j + 45) < 20) & (np.abs(i) < 15)] = -900
    return volume


@pytest.mark.parametrize(
    "volume",
    [
        volume_of(np.full((30, 96, 96), -1000, dtype=np.int16), (5.0, 4.0, 4.0)),
        volume_of(np.zeros((30, 96, 96), dtype=np.int16), (5.0, 4.0, 4.0)),
        cylinder(0)[0],
        cylinder(-1000)[0],
        bottle(),
        head(),
    ],
    ids=["air", "water", "water phantom in air", "air cylinder", "bottle of air", "head"],
)
def test_what_holds_no_lungs_is_refused_with_its_volume(volume):
    with pytest.raises(LungsNotFound, match=r"\d+ ml found, at least 500 ml"):
        segment_lungs(volume)


def test_a_neck_above_the_lungs_is_refused(normal, normal_lungs):
    top = int(np.flatnonzero((normal_lungs > 0).any(axis=(1, 2)))[-1])
    with pytest.raises(LungsNotFound):
        segment_lungs(changed(normal, normal.voxels_hu[top - 2 :]))


def test_the_method_names_itself():
    identity = phantom_lungs("normal").model
    assert (identity.name, identity.task, identity.sha256) == ("covnode-density-lungs", "lungs", None)
    assert identity.training_data == "none: rule-based"
    assert not identity.demonstration
