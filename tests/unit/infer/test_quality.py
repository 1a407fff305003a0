from dataclasses import replace

import numpy as np
import pytest
from phantom_cases import changed, phantom, phantom_ct, phantom_lungs, places_mm, volume_of

from covnode.errors import (
    BlackSlices,
    ConfigurationError,
    CopiedSlices,
    LungsCut,
    LungsImplausible,
    LungsNotFound,
    TooNoisy,
    TruncatedSlices,
)
from covnode.infer.field_of_view import cut_lung_cm2
from covnode.infer.lungs import IDENTITY as LUNGS
from covnode.infer.quality import check_lungs, check_volume, require_lungs
from covnode.records.quality import Verdict, verdict_of
from covnode.records.result import Acquisition
from covnode.records.volume import InPlane, Lung, LungMask
from covnode.sections import QualitySettings
from covnode.settings import validated

# Voxels of 5 x 4 x 4 mm: 0.08 ml; a slice of 60 x 100 voxels is 960 cm2, all of it patient.
VOLUME = volume_of(np.full((40, 60, 100), -850, dtype=np.int16), (5.0, 4.0, 4.0))
VOLUME.voxels_hu[:, :, 40:55] = 40
DEFAULT = QualitySettings()


def lungs_in(slices, rows, right, left):
    labels = np.zeros(VOLUME.voxels_hu.shape, dtype=np.uint8)
    labels[slices, rows, right] = Lung.RIGHT
    labels[slices, rows, left] = Lung.LEFT
    return LungMask(labels, LUNGS)


def with_end(k, columns):
    lungs = lungs_in(slice(2, 38), slice(10, 50), slice(10, 40), slice(55, 80))
    lungs.labels[k, 10:50, columns] = Lung.RIGHT
    return lungs


def sentences(quality):
    return [figure.sentence for figure in quality if figure.sentence]


def figures(quality):
    return {figure.name: figure.value for figure in quality}


USUAL = lungs_in(slice(2, 38), slice(10, 50), slice(10, 40), slice(55, 80))


def test_usual_lungs_need_no_caution():
    found = check_lungs(VOLUME, USUAL, DEFAULT)
    assert sentences(found) == []
    assert verdict_of(found) is Verdict.ANALYSED


@pytest.mark.parametrize("preset", ["normal", "covid-severe"])
def test_a_phantom_needs_no_caution(preset):
    volume = phantom_ct(preset)
    found = (*check_volume(volume, DEFAULT), *check_lungs(volume, phantom_lungs(preset), DEFAULT))
    thick = [sentence for sentence in sentences(found) if sentence.startswith("Thick slices (6.0 mm)")]
    assert sentences(found) == thick


@pytest.mark.parametrize(
    ("lungs", "words"),
    [
        (lungs_in(slice(2, 38), slice(10, 50), slice(10, 40), slice(55, 56)), "The left lung was hardly found"),
        (lungs_in(slice(2, 38), slice(10, 50), slice(10, 11), slice(55, 80)), "The right lung was hardly found"),
        (lungs_in(slice(15, 25), slice(10, 40), slice(10, 30), slice(55, 75)), "unusually little"),
        (lungs_in(slice(2, 38), slice(4, 54), slice(8, 48), slice(52, 92)), "unusually much"),
        (with_end(39, slice(10, 30)), "The most superior slice shows 128 cm2 of lung: the apex"),
        (with_end(0, slice(10, 30)), "The most inferior slice shows 128 cm2 of lung: the base"),
    ],
)
def test_each_doubt_has_its_sentence(lungs, words):
    found = check_lungs(VOLUME, lungs, DEFAULT)
    (sentence,) = sentences(found)
    assert words in sentence
    assert verdict_of(found) is Verdict.WITH_CAUTION


@pytest.mark.parametrize(
    ("lungs", "error", "words"),
    [
        (
            lungs_in(slice(2, 40), slice(10, 50), slice(10, 40), slice(55, 80)),
            LungsCut,
            r"most superior slice 100 % .* apex .* at most 60 % .*quality\.max_lung_at_end_percent",
        ),
        (
            lungs_in(slice(0, 38), slice(10, 50), slice(10, 40), slice(55, 80)),
            LungsCut,
            r"most inferior slice 100 % .* base",
        ),
        (
            lungs_in(slice(2, 38), slice(1, 59), slice(1, 50), slice(50, 99)),
            LungsImplausible,
            r"volume of both lungs 16\d+\.\d ml: at most 12000 ml",
        ),
    ],
)
def test_what_cannot_be_analysed_is_refused_with_figure_and_limit(lungs, error, words):
    with pytest.raises(error, match=words):
        check_lungs(VOLUME, lungs, QualitySettings())


@pytest.mark.parametrize(
    ("hu", "outcome"), [(-970, LungsImplausible), (-940, "low"), (-450, "high"), (-200, LungsImplausible)]
)
def test_lungs_have_the_density_of_lungs(hu, outcome):
    volume = changed(VOLUME, np.where(VOLUME.voxels_hu == -850, np.int16(hu), VOLUME.voxels_hu))
    if outcome is LungsImplausible:
        with pytest.raises(LungsImplausible, match=f"mean density of the lungs {hu} HU"):
            check_lungs(volume, USUAL, DEFAULT)
    else:
        (sentence,) = sentences(check_lungs(volume, USUAL, DEFAULT))
        assert f"{hu} HU, unusually {outcome}" in sentence


def cropped(columns):
    volume = phantom_ct("normal")
    return changed(volume, volume.voxels_hu[:, :, columns:])


def round_field(radius_mm):
    volume = phantom_ct("normal")
    _, j_mm, i_mm = places_mm(volume)
    return changed(volume, np.where(np.hypot(j_mm, i_mm) > radius_mm, np.int16(-1024), volume.voxels_hu))


@pytest.mark.parametrize("columns", [0, 14, 30, 34])
def test_the_field_of_view_cuts_as_much_lung_as_lies_at_its_edge(columns):
    made = phantom("normal")
    k_mm, j_mm, _ = made.spacing_mm
    true_cm2 = np.count_nonzero(made.lung_labels[:, :, columns]) * k_mm * j_mm / 100
    measured = cut_lung_cm2(cropped(columns))
    assert (measured > 0) == (true_cm2 > 0)
    assert measured == pytest.approx(true_cm2, rel=0.2, abs=25)


@pytest.mark.parametrize("radius_mm", [100.0, 125.0])
def test_a_round_field_of_view_cuts_where_its_padding_begins(radius_mm):
    with pytest.raises(LungsCut, match=r"field of view \d+.* cm2: at most 50 cm2 .*quality\.max_lung_at_edge_cm2"):
        check_volume(round_field(radius_mm), DEFAULT)
    found = check_volume(round_field(radius_mm), QualitySettings(max_lung_at_edge_cm2=1e4))
    assert any("Lung reaches the edge of the field of view (" in sentence for sentence in sentences(found))


@pytest.mark.parametrize("radius_mm", [145.0, 160.0, 175.0, 200.0])
def test_a_field_of_view_that_cuts_skin_and_table_alone_cuts_no_lung(radius_mm):
    assert cut_lung_cm2(round_field(radius_mm)) == 0


def test_a_mattress_behind_the_patient_is_no_lung():
    volume = phantom_ct("normal")
    behind = places_mm(volume)[1] > 0
    room = (volume.voxels_hu < -940) & behind & (phantom("normal").lung_labels == 0)
    volume = changed(volume, np.where(room, np.int16(-900), volume.voxels_hu))
    _, j_mm, i_mm = places_mm(volume)
    assert cut_lung_cm2(changed(volume, np.where(np.hypot(j_mm, i_mm) > 145.0, -1024, volume.voxels_hu))) == 0


def test_thick_slices_are_named_with_thickness_and_kernel():
    thick = replace(phantom_ct("normal"), acquisition=Acquisition(slice_thickness_mm=8.0, convolution_kernel="B70f"))
    (sentence,) = sentences(check_volume(thick, DEFAULT))
    assert "8.0 mm" in sentence
    assert "B70f" in sentence
    far_apart = replace(phantom_ct("normal"), spacing_mm=(10.0, *phantom_ct("normal").spacing_mm[1:]))
    assert any("10.0 mm" in sentence for sentence in sentences(check_volume(far_apart, DEFAULT)))


@pytest.mark.parametrize(("kernel", "cautious"), [("B80s", True), ("b8", True), ("B40f", False), (None, False)])
def test_a_kernel_of_the_settings_has_a_caution(kernel, cautious):
    volume = replace(phantom_ct("normal"), acquisition=Acquisition(convolution_kernel=kernel))
    settings = QualitySettings(caution_kernels=("B8*",), caution_thickness_mm=10.0)
    assert [f"Kernel {kernel}" in sentence for sentence in sentences(check_volume(volume, settings))] == [
        True
    ] * cautious


def test_too_little_lung_is_refused_by_its_volume():
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[:5] = Lung.LEFT
    require_lungs(labels, 1.0, 500.0)
    with pytest.raises(LungsNotFound, match=r"495 ml found, at least 500 ml expected \(quality\.min_lungs_ml\)"):
        require_lungs(labels, 0.99, 500.0)


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_noise_is_what_was_added(seed):
    """White noise of known size on the ideal air and tissue of a phantom: variances add."""
    made = phantom("normal", seed)
    rng = np.random.default_rng(seed)
    before = figures(check_volume(phantom_ct("normal", seed), DEFAULT))
    added = np.rint(made.voxels_hu + rng.normal(0.0, 30.0, made.voxels_hu.shape)).astype(np.int16)
    after = figures(check_volume(volume_of(added, made.spacing_mm), DEFAULT))
    for name in ("noise in air", "noise in soft tissue"):
        # A low percentile of small blocks lies some percent below the true figure.
        assert np.hypot(before[name], 30.0) * 0.85 < after[name] < np.hypot(before[name], 30.0) * 1.05


@pytest.mark.parametrize(("noise_hu", "verdict"), [(60.0, "passes"), (90.0, "caution"), (180.0, "refused")])
def test_noise_is_told_and_then_refused(noise_hu, verdict):
    volume = phantom_ct("normal")
    rng = np.random.default_rng(1)
    noisy = volume.voxels_hu + rng.normal(0.0, noise_hu, volume.voxels_hu.shape)
    noisy = changed(volume, np.clip(np.rint(noisy), -1024, 3071).astype(np.int16))
    if verdict == "refused":
        with pytest.raises(TooNoisy, match=r"noise in (air|soft tissue) [\d.]+ HU: at most \d+ HU .*quality\.max_"):
            check_volume(noisy, DEFAULT)
        return
    said = [sentence for sentence in sentences(check_volume(noisy, DEFAULT)) if "Noisy images" in sentence]
    assert bool(said) is (verdict == "caution")


def test_black_slices_are_named_and_allowed_as_far_as_the_settings_say():
    volume = changed(phantom_ct("normal"), phantom_ct("normal").voxels_hu.copy())
    volume.voxels_hu[20] = -1024
    volume.voxels_hu[40] = -1000
    with pytest.raises(
        BlackSlices, match=r"black slices 2 \(slice 21 of 50 .*; slice 41 of 50 .*quality\.max_black_slices"
    ):
        check_volume(volume, DEFAULT)
    found = check_volume(volume, QualitySettings(max_black_slices=2))
    assert any("2 of 50 slices are black: slice 21 of 50 from below, " in each for each in sentences(found))


def test_slices_of_air_beyond_the_patient_are_told_and_refuse_nothing():
    volume = changed(phantom_ct("normal"), phantom_ct("normal").voxels_hu.copy())
    volume.voxels_hu[[0, 49]] = -1024
    found = check_volume(volume, DEFAULT)
    assert (figures(found)["black slices"], figures(found)["empty slices at the ends"]) == (0, 2)
    assert any("2 of 50 slices show no patient: slice 1 of 50 " in each for each in sentences(found))


def test_a_series_without_any_patient_is_black():
    volume = changed(phantom_ct("normal"), np.full_like(phantom_ct("normal").voxels_hu, -1024))
    with pytest.raises(BlackSlices, match="black slices 50 "):
        check_volume(volume, DEFAULT)


def test_ends_of_the_lungs_are_looked_for_beside_black_slices():
    volume = changed(VOLUME, VOLUME.voxels_hu.copy())
    volume.voxels_hu[38:] = -1024
    assert figures(check_lungs(VOLUME, USUAL, DEFAULT))["lung in the most superior slice"] == 0
    with pytest.raises(LungsCut, match="apex"):
        check_lungs(volume, USUAL, DEFAULT)


@pytest.mark.parametrize("slices", [[25], [24, 25, 26], [49], [0]], ids=str)
@pytest.mark.parametrize("transpose", [False, True])
def test_rows_that_a_broken_transfer_lost_are_found(slices, transpose):
    volume = changed(phantom_ct("normal"), phantom_ct("normal").voxels_hu.copy())
    if transpose:
        volume = replace(volume, in_plane=InPlane(transpose=True, flip_j=False, flip_i=False))
        volume.voxels_hu[slices, :, 72:] = -1024
    else:
        volume.voxels_hu[slices, 72:] = 0
    with pytest.raises(TruncatedSlices, match=f"truncated slices {len(slices)} ") as caught:
        check_volume(volume, DEFAULT)
    assert all(f"slice {k + 1} of 50" in str(caught.value) for k in slices)


@pytest.mark.parametrize("transpose", [False, True])
def test_rows_are_lost_at_the_end_as_they_are_stored(transpose):
    """Stored from posterior to anterior, or from left to right, the last rows are the first ones of the grid."""
    volume = changed(phantom_ct("normal"), phantom_ct("normal").voxels_hu.copy())
    volume = replace(volume, in_plane=InPlane(transpose=transpose, flip_j=not transpose, flip_i=transpose))
    volume.voxels_hu[(25, slice(None), slice(72)) if transpose else (25, slice(72))] = -1024
    with pytest.raises(TruncatedSlices, match="truncated slices 1 "):
        check_volume(volume, DEFAULT)


def test_clipped_air_in_front_of_a_neck_is_no_truncation():
    volume = phantom_ct("normal")
    voxels_hu = np.where(volume.voxels_hu < -900, np.int16(-1000), volume.voxels_hu)
    voxels_hu[20:30, :50] = -1000  # a neck between chest and chin
    found = figures(check_volume(changed(volume, voxels_hu), DEFAULT))
    assert found["truncated slices"] == 0


def test_an_outline_that_moves_between_slices_is_no_truncation():
    volume = phantom_ct("normal")
    clipped = np.where(volume.voxels_hu < -900, np.int16(-1000), volume.voxels_hu)
    found = figures(check_volume(changed(volume, clipped), DEFAULT))
    assert found["truncated slices"] == 0


def test_copied_slices_are_told_and_then_refused():
    volume = changed(phantom_ct("normal"), phantom_ct("normal").voxels_hu.copy())
    volume.voxels_hu[31] = volume.voxels_hu[30]
    found = check_volume(volume, DEFAULT)
    assert figures(found)["slices that copy another"] == 2.0
    assert any("1 of 50 slices show the same as another one: slice 32 of 50" in each for each in sentences(found))
    volume.voxels_hu[33] = volume.voxels_hu[31]
    volume.voxels_hu[40] = volume.voxels_hu[41]
    with pytest.raises(CopiedSlices, match=r"6 % \(slice 32 .*slice 34 .*slice 42 .*at most 5 % .*max_copied_percent"):
        check_volume(volume, DEFAULT)


def test_slices_that_agree_where_they_are_sampled_alone_are_no_copies():
    volume = changed(phantom_ct("normal"), phantom_ct("normal").voxels_hu.copy())
    volume.voxels_hu[31] = volume.voxels_hu[30]
    volume.voxels_hu[31, 1, 1] += 1
    assert figures(check_volume(volume, DEFAULT))["slices that copy another"] == 0


@pytest.mark.parametrize(("blood_hu", "phase"), [(40, "not enhanced"), (200, "enhanced"), (400, "enhanced")])
def test_the_contrast_phase_is_measured(blood_hu, phase):
    volume = changed(VOLUME, np.where(VOLUME.voxels_hu == 40, np.int16(blood_hu), VOLUME.voxels_hu))
    found = check_lungs(volume, USUAL, DEFAULT)
    assert figures(found)["density of the blood"] == blood_hu
    assert figures(found)["contrast phase"] == phase
    assert sentences(found) == ([f"Strong contrast phase (blood {blood_hu} HU): {_DENSER}"] if blood_hu > 300 else [])


_DENSER = "lung next to vessels looks denser than it is."


@pytest.mark.parametrize("seed", range(4))
def test_the_phase_of_a_phantom_is_that_of_its_blood(seed):
    found = figures(check_lungs(phantom_ct("normal", seed), phantom_lungs("normal", seed), DEFAULT))
    assert (found["contrast phase"] == "enhanced") is phantom("normal", seed).contrast_agent


def test_limits_that_contradict_each_other_are_no_configuration():
    with pytest.raises(ConfigurationError, match="caution_air_noise_hu <= max_air_noise_hu"):
        validated({"quality": {"caution_air_noise_hu": 80.0}}, "covnode.toml")
