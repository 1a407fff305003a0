"""Phantoms: repeatable, plausible, and true to their own masks."""

import numpy as np
import pytest

from covnode.learn.phantom import PhantomPreset, Protocol, make_phantom
from covnode.learn.phantom_anatomy import draw_anatomy
from covnode.learn.phantom_scanner import Reconstruction
from covnode.learn.phantom_tubes import Grid
from covnode.records.volume import Lesion, Lung

SIZE, SLICES = 128, 48


@pytest.fixture(scope="module")
def phantoms():
    return {preset: make_phantom(preset, seed=3, slices=SLICES, size=SIZE) for preset in PhantomPreset}


def affected_percent(phantom, side=None):
    lungs = phantom.lung_labels > 0 if side is None else phantom.lung_labels == side
    return 100 * np.count_nonzero(phantom.lesion_labels[lungs]) / np.count_nonzero(lungs)


def test_equal_arguments_give_equal_voxels_and_another_seed_does_not(phantoms):
    first = phantoms[PhantomPreset.COVID_MILD]
    again = make_phantom(PhantomPreset.COVID_MILD, seed=3, slices=SLICES, size=SIZE)
    other = make_phantom(PhantomPreset.COVID_MILD, seed=4, slices=SLICES, size=SIZE)
    for name in ("voxels_hu", "lung_labels", "lesion_labels", "airway_mask", "affine_lps_mm"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert (first.lung_labels != other.lung_labels).mean() > 0.005
    assert not np.array_equal(first.lesion_labels, other.lesion_labels)


def test_arrays_lie_on_the_canonical_grid(phantoms):
    phantom = phantoms[PhantomPreset.NORMAL]
    assert phantom.voxels_hu.shape == (SLICES, SIZE, SIZE)
    assert phantom.voxels_hu.dtype == np.int16
    assert phantom.lung_labels.dtype == phantom.lesion_labels.dtype == np.uint8
    assert phantom.lung_labels.shape == phantom.lesion_labels.shape == phantom.airway_mask.shape
    k, j, i = phantom.spacing_mm
    assert k * SLICES == pytest.approx(300, abs=1)
    assert i == j
    assert 300 <= i * SIZE <= 400
    # Left is at growing i, the heart with it; the spine is at growing j; the trachea leaves at growing k.
    centre = {side: np.argwhere(phantom.lung_labels == side).mean(axis=0) for side in Lung}
    assert centre[Lung.LEFT][2] > centre[Lung.RIGHT][2] + 20
    bone = phantom.voxels_hu[:, :, SIZE // 2 - 5 : SIZE // 2 + 5] > 150
    assert np.argwhere(bone)[:, 1].mean() > SIZE / 2
    airway_k = np.argwhere(phantom.airway_mask)[:, 0]
    assert airway_k.max() == SLICES - 1
    assert airway_k.min() > SLICES // 3


@pytest.mark.parametrize("seed", range(8))
def test_lungs_hold_three_to_six_litres_the_right_more_than_the_left(seed):
    phantom = make_phantom(PhantomPreset.NORMAL, seed=seed, slices=30, size=64)
    right, left = (np.count_nonzero(phantom.lung_labels == side) * phantom.voxel_ml for side in Lung)
    assert 3000 < right + left < 6000
    assert left < right < 1.6 * left


def test_volume_does_not_depend_on_the_matrix():
    coarse = make_phantom(PhantomPreset.COVID_SEVERE, seed=5, slices=40, size=96)
    fine = make_phantom(PhantomPreset.COVID_SEVERE, seed=5, slices=80, size=192)
    volumes = [np.count_nonzero(phantom.lung_labels) * phantom.voxel_ml for phantom in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.02)
    assert affected_percent(coarse) == pytest.approx(affected_percent(fine), abs=2)


def test_the_seed_fixes_the_body_under_every_preset(phantoms):
    normal = phantoms[PhantomPreset.NORMAL]
    for preset, phantom in phantoms.items():
        if preset is PhantomPreset.EFFUSION:
            continue
        assert np.array_equal(phantom.lung_labels, normal.lung_labels)
        # Nodules and emphysema change lungs that count as unaffected.
        changed = preset in {PhantomPreset.NODULES, PhantomPreset.EMPHYSEMA}
        healthy = phantom.lung_labels == 0 if changed else phantom.lesion_labels == 0
        same = np.abs(phantom.voxels_hu.astype(int) - normal.voxels_hu)[healthy] < 60
        assert same.mean() > 0.98


def test_lesions_are_in_the_lungs_and_airways_are_not(phantoms):
    for phantom in phantoms.values():
        assert not np.any(phantom.lesion_labels[phantom.lung_labels == 0])
        assert not np.any(phantom.lung_labels[phantom.airway_mask])
        assert set(np.unique(phantom.lung_labels)) == {0, *Lung}


def test_each_preset_shows_what_its_name_says(phantoms):
    assert not phantoms[PhantomPreset.NORMAL].lesion_labels.any()
    mild, severe = phantoms[PhantomPreset.COVID_MILD], phantoms[PhantomPreset.COVID_SEVERE]
    assert 2 < affected_percent(mild) < 28
    assert 35 < affected_percent(severe) < 85
    for covid in (mild, severe):
        assert min(affected_percent(covid, side) for side in Lung) > 1
        kinds = [np.count_nonzero(covid.lesion_labels == kind) for kind in Lesion]
        assert kinds[0] > 2 * kinds[1]
    consolidation = phantoms[PhantomPreset.CONSOLIDATION]
    assert set(np.unique(consolidation.lesion_labels)) == {0, Lesion.CONSOLIDATION}
    assert sorted(affected_percent(consolidation, side) > 0 for side in Lung) == [False, True]
    assert 2 < affected_percent(consolidation) < 20


def test_ground_glass_prefers_the_pleura():
    peripheral = []
    for seed in range(3):
        phantom = make_phantom(PhantomPreset.COVID_MILD, seed=seed, slices=30, size=96)
        lungs = phantom.lung_labels > 0
        inner = lungs.copy()
        for axis in (1, 2):
            for step in (-7, 7):
                inner &= np.roll(lungs, step, axis)
        glass = phantom.lesion_labels == Lesion.GROUND_GLASS
        peripheral.append(glass[lungs & ~inner].mean() / glass[inner].mean())
    assert np.mean(peripheral) > 1.5


def test_densities_are_those_of_tissue(phantoms):
    def median_hu(preset, chosen):
        return np.median(phantoms[preset].voxels_hu[chosen])

    normal, severe = phantoms[PhantomPreset.NORMAL], phantoms[PhantomPreset.COVID_SEVERE]
    lobe = phantoms[PhantomPreset.CONSOLIDATION]
    assert -900 < median_hu(PhantomPreset.NORMAL, normal.lung_labels > 0) < -790
    assert -650 < median_hu(PhantomPreset.COVID_SEVERE, severe.lesion_labels == Lesion.GROUND_GLASS) < -400
    assert -20 < median_hu(PhantomPreset.CONSOLIDATION, lobe.lesion_labels == Lesion.CONSOLIDATION) < 80
    assert np.median(normal.voxels_hu[:, :10]) == pytest.approx(-1000, abs=15)
    # The dependent half of the lungs is denser than the other.
    j = np.argwhere(normal.lung_labels > 0)[:, 1]
    middle, hu = np.median(j), normal.voxels_hu[normal.lung_labels > 0]
    assert np.median(hu[j > middle]) > np.median(hu[j < middle]) + 15


def test_some_seeds_have_contrast_agent_and_say_so():
    anatomies = [draw_anatomy(np.random.default_rng(seed)) for seed in range(60)]
    enhanced = [anatomy.blood_hu > 100 for anatomy in anatomies]
    assert 5 < sum(enhanced) < 30


def test_noise_is_that_of_a_reconstruction_and_not_white():
    axis = ((np.arange(512) - 255.5) * 0.74).astype(np.float32)
    scanner = Reconstruction(Grid(axis, axis, axis), 20.0, np.random.default_rng(0))
    plane = np.full((512, 512), 40.0, dtype=np.float32)
    first, second = (scanner.scan(plane)[128:384, 128:384].astype(float) for _ in range(2))
    assert first.mean() == pytest.approx(40, abs=1)
    assert first.std() == pytest.approx(20, rel=0.25)
    assert np.corrcoef(first[:, 1:].ravel(), first[:, :-1].ravel())[0, 1] > 0.4
    assert 0.3 < np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.6


def test_effusion_takes_the_back_of_a_lung_and_counts_as_no_lesion(phantoms):
    normal, effusion = phantoms[PhantomPreset.NORMAL], phantoms[PhantomPreset.EFFUSION]
    fluid = (normal.lung_labels > 0) & (effusion.lung_labels == 0)
    assert not effusion.lesion_labels.any()
    assert not np.any((effusion.lung_labels > 0) & (normal.lung_labels == 0))
    assert 50 < np.count_nonzero(fluid) * normal.voxel_ml < 2000
    assert -20 < np.median(effusion.voxels_hu[fluid]) < 40
    kept = np.argwhere(effusion.lung_labels > 0)[:, 1]
    assert np.median(np.argwhere(fluid)[:, 1]) > np.percentile(kept, 90)


def test_nodules_are_round_dense_and_small_and_count_as_no_lesion(phantoms):
    normal, nodules = phantoms[PhantomPreset.NORMAL], phantoms[PhantomPreset.NODULES]
    assert not nodules.lesion_labels.any()
    denser = (nodules.voxels_hu.astype(int) - normal.voxels_hu > 500) & (nodules.lung_labels > 0)
    assert 0.3 < np.count_nonzero(denser) * nodules.voxel_ml < 120


def test_emphysema_is_rarer_than_lung_and_counts_as_no_lesion(phantoms):
    normal, emphysema = phantoms[PhantomPreset.NORMAL], phantoms[PhantomPreset.EMPHYSEMA]
    assert not emphysema.lesion_labels.any()
    lungs = normal.lung_labels > 0
    rarer = normal.voxels_hu.astype(int)[lungs] - emphysema.voxels_hu[lungs] > 70
    assert 0.05 < rarer.mean() < 0.5
    assert np.median(emphysema.voxels_hu[lungs][rarer]) < -930


def test_covid_presets_lie_in_classes_of_severity_one_above_the_other():
    def shares(preset):
        made = (make_phantom(preset, seed=seed, slices=30, size=96) for seed in range(4))
        return np.array([affected_percent(phantom) for phantom in made])

    moderate, severe, critical = (
        shares(preset)
        for preset in (PhantomPreset.COVID_MODERATE, PhantomPreset.COVID_SEVERE, PhantomPreset.COVID_CRITICAL)
    )
    assert moderate.min() > 18
    assert moderate.max() < 45
    assert moderate.mean() < severe.mean() < critical.mean()
    assert critical.max() > 80


def test_a_protocol_changes_noise_kernel_and_thickness_and_never_the_body():
    usual = make_phantom(PhantomPreset.NODULES, seed=3, slices=24, size=128)
    noisy, sharp, thick = (
        make_phantom(PhantomPreset.NODULES, seed=3, slices=24, size=128, protocol=protocol)
        for protocol in (Protocol(noise=2.0), Protocol(sharpness=1.6), Protocol(averaged=3))
    )

    for other in (noisy, sharp):
        assert np.array_equal(other.lung_labels, usual.lung_labels)
        assert np.array_equal(other.affine_lps_mm, usual.affine_lps_mm)
    assert np.allclose(thick.affine_lps_mm, usual.affine_lps_mm, atol=0.02)
    assert (thick.lung_labels != usual.lung_labels).mean() < 0.005
    lungs = usual.lung_labels > 0
    steps = [np.median(np.abs(np.diff(one.voxels_hu.astype(int), axis=2))[lungs[:, :, 1:]]) for one in (usual, noisy)]
    assert steps[1] > 1.3 * steps[0]
    # What a thick slice holds for a part of its thickness alone is neither lung nor tissue in it.
    between = [np.mean((one.voxels_hu[lungs] > -700) & (one.voxels_hu[lungs] < -300)) for one in (usual, thick)]
    assert between[1] > 1.3 * between[0]


def test_a_sharper_kernel_correlates_neighbouring_pixels_less():
    axis = ((np.arange(512) - 255.5) * 0.74).astype(np.float32)
    grid, plane = Grid(axis, axis, axis), np.full((512, 512), 40.0, dtype=np.float32)

    def correlation(sharpness):
        scanned = Reconstruction(grid, 20.0, np.random.default_rng(0), sharpness).scan(plane)[128:384, 128:384]
        return np.corrcoef(scanned[:, 1:].ravel(), scanned[:, :-1].ravel())[0, 1]

    assert correlation(0.6) > correlation(1.0) + 0.1 > correlation(1.6) + 0.2
