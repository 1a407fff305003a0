import numpy as np
import pytest
from phantom_cases import changed, dice, phantom, phantom_ct, phantom_lungs, places_mm, volume_of
from scipy import ndimage

from covnode.infer.lesions import find_lesions
from covnode.infer.lungs import IDENTITY, segment_lungs
from covnode.infer.measures import measure
from covnode.records.volume import Lesion, Lung, LungMask


def found_in(preset, seed=5):
    lungs = phantom_lungs(preset, seed)
    return lungs, find_lesions(phantom_ct(preset, seed), lungs)


def figures_of(preset, seed=5):
    return measure(phantom_ct(preset, seed), *found_in(preset, seed))


@pytest.fixture(scope="module")
def severe():
    return found_in("covid-severe")


@pytest.mark.parametrize("seed", [1, 5])
def test_a_normal_phantom_has_hardly_any_lesion(seed):
    figures = figures_of("normal", seed)
    assert figures.affected_percent.total < 1.0
    # The heart and the liver between stretches of lung are no consolidation.
    assert figures.consolidation_ml.total < 8


def test_ground_glass_and_consolidation_lie_on_the_true_ones(severe):
    _, lesions = severe
    truth = phantom("covid-severe").lesion_labels
    assert dice(lesions.labels == Lesion.GROUND_GLASS, truth == Lesion.GROUND_GLASS) > 0.85
    assert dice(lesions.labels == Lesion.CONSOLIDATION, truth == Lesion.CONSOLIDATION) > 0.6
    assert dice(lesions.labels > 0, truth > 0) > 0.85


@pytest.mark.parametrize(
    ("preset", "kind", "least"),
    [("covid-mild", Lesion.GROUND_GLASS, 0.85), ("consolidation", Lesion.CONSOLIDATION, 0.7)],
)
def test_lesions_of_other_presets_lie_on_the_true_ones(preset, kind, least):
    _, lesions = found_in(preset)
    assert dice(lesions.labels == kind, phantom(preset).lesion_labels == kind) > least


def test_the_affected_share_is_near_the_truth():
    made, found = phantom("covid-severe"), figures_of("covid-severe").affected_percent
    for side, percent in ((Lung.RIGHT, found.right), (Lung.LEFT, found.left)):
        lung = made.lung_labels == side
        true = 100 * np.count_nonzero(lung & (made.lesion_labels > 0)) / np.count_nonzero(lung)
        assert percent == pytest.approx(true, abs=6)


def test_lesions_stay_inside_the_lungs(severe):
    lungs, lesions = severe
    assert lesions.labels.dtype == np.uint8
    assert lesions.labels.any()
    assert not lesions.labels[lungs.labels == 0].any()


def test_the_noise_of_a_sharp_kernel_changes_little():
    volume = phantom_ct("covid-mild")
    noise = np.random.default_rng(3).normal(0, 120, volume.voxels_hu.shape)
    noisy = changed(volume, np.clip(volume.voxels_hu + noise, -1024, 3071).astype(np.int16))
    lungs = segment_lungs(noisy)
    found = measure(noisy, lungs, find_lesions(noisy, lungs)).affected_percent
    assert found.total == pytest.approx(figures_of("covid-mild").affected_percent.total, abs=3)


def test_the_same_volume_gives_the_same_lesions(severe):
    np.testing.assert_array_equal(found_in("covid-severe")[1].labels, severe[1].labels)


SPACING_MM = (1.5, 1.5, 1.5)


def lung_block(hu=-860):
    """A block of even lung on both sides in soft tissue, its border half filled."""
    volume = volume_of(np.full((80, 90, 120), 40, dtype=np.int16), SPACING_MM)
    labels = np.zeros(volume.voxels_hu.shape, dtype=np.uint8)
    labels[8:72, 10:80, 8:55] = Lung.RIGHT
    labels[8:72, 10:80, 65:112] = Lung.LEFT
    volume.voxels_hu[labels > 0] = hu
    for axis in range(3):
        for step in (-1, 1):
            border = (labels > 0) & (np.roll(labels, step, axis=axis) == 0)
            volume.voxels_hu[border] = (hu + 40) // 2
    return volume, LungMask(labels, IDENTITY)


def with_ball(volume, centre_mm, radius_mm, hu):
    k, j, i = (place - centre for place, centre in zip(places_mm(volume), centre_mm, strict=True))
    ball = np.sqrt(k**2 + j**2 + i**2) < radius_mm
    volume.voxels_hu[ball] = hu
    return ball


@pytest.mark.parametrize("blur_mm", [0.0, 0.8, 1.5])
def test_half_filled_borders_are_no_lesion(blur_mm):
    volume, lungs = lung_block()
    volume = changed(volume, ndimage.gaussian_filter(volume.voxels_hu, blur_mm / SPACING_MM[0]))
    assert not find_lesions(volume, lungs).labels.any()


def test_a_vessel_is_no_lesion_and_a_patch_beside_it_is():
    volume, lungs = lung_block()
    _, j, i = places_mm(volume)
    vessel = np.broadcast_to(np.hypot(j + 20, i + 45) < 4, volume.voxels_hu.shape) & (lungs.labels > 0)
    volume.voxels_hu[vessel] = 50
    assert not find_lesions(volume, lungs).labels.any()
    patch = with_ball(volume, (0, 20, -45), 12, -500)
    found = find_lesions(volume, lungs).labels
    assert dice(found == Lesion.GROUND_GLASS, patch) > 0.8
    assert not found[vessel].any()


@pytest.mark.parametrize(
    ("hu", "kind"), [(-600, Lesion.GROUND_GLASS), (-400, Lesion.GROUND_GLASS), (30, Lesion.CONSOLIDATION)]
)
def test_density_tells_the_kind(hu, kind):
    volume, lungs = lung_block()
    ball = with_ball(volume, (0, 0, 45), 14, hu)
    core = with_ball(volume, (0, 0, 45), 9, hu)
    found = find_lesions(volume, lungs).labels
    assert (found[core] == kind).all()
    assert dice(found > 0, ball) > 0.8


def test_a_poorly_inflated_lung_is_no_ground_glass_and_the_other_lung_keeps_its_border():
    volume, lungs = lung_block()
    left = lungs.labels == Lung.LEFT
    inner = left & (volume.voxels_hu == -860)
    volume.voxels_hu[inner] = -740
    with_ball(volume, (0, 0, 45), 14, -560)
    with_ball(volume, (0, 0, -45), 14, -700)
    found = find_lesions(volume, lungs).labels
    share = np.count_nonzero(found[left]) / np.count_nonzero(left)
    ball_share = 4 / 3 * np.pi * 14**3 / 1.5**3 / np.count_nonzero(left)
    assert share == pytest.approx(ball_share, rel=0.35)
    assert np.count_nonzero(found[lungs.labels == Lung.RIGHT]) > 0


def test_an_evenly_dense_lung_is_affected_as_a_whole():
    volume, lungs = lung_block()
    right = lungs.labels == Lung.RIGHT
    volume.voxels_hu[right & (volume.voxels_hu == -860)] = -550
    found = find_lesions(volume, lungs).labels
    assert np.count_nonzero(found[right]) > 0.9 * np.count_nonzero(right)
    assert not found[~right].any()


def test_no_lungs_no_lesions():
    volume, lungs = lung_block()
    nothing = LungMask(np.zeros_like(lungs.labels), lungs.model)
    assert not find_lesions(volume, nothing).labels.any()


def test_the_method_names_itself(severe):
    identity = severe[1].model
    assert (identity.name, identity.task, identity.sha256) == ("covnode-density-lesions", "lesions", None)
    assert identity.training_data == "none: rule-based"
