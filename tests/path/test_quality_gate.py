"""What a person is told of inputs that are no chest CT, or a bad one: de-identified, loaded, checked and reported."""

import re
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.quality import Verdict, verdict_of
from covnode.records.result import ObjectKind
from covnode.sections import QualitySettings, WorkerSettings
from covnode.wiring.offline import analyse_folder
from covnode.wiring.plan import InferencePlan

AIR_HU, MUSCLE_HU = -1000, 50


@pytest.fixture(scope="session")
def chest():
    return make_phantom(PhantomPreset.NORMAL, slices=60, seed=5, size=160)


@pytest.fixture
def analysed(chest, write_series, tmp_path):
    """Return a function that changes the chest's voxels, writes and changes the files, and analyses them."""

    def analyse(change=None, *, edit=None, limits=None, **attributes):
        voxels_hu = chest.voxels_hu.copy()
        changed = voxels_hu if change is None else change(voxels_hu)
        count = len(changed)
        phantom = replace(
            chest,
            voxels_hu=np.clip(np.rint(changed), -1024, 3071).astype(np.int16),
            **{name: getattr(chest, name)[:count] for name in ("lung_labels", "lesion_labels", "airway_mask")},
        )
        folder = write_series(phantom=phantom, **attributes)
        for name in ("truth.json", "truth.npz"):
            (folder / name).unlink()
        if edit is not None:
            edit(sorted(folder.glob("*.dcm")))
        plan = InferencePlan(
            WorkerSettings(), tmp_path / "no-models", tmp_path / "out", quality=QualitySettings(**(limits or {}))
        )
        (outcome,) = analyse_folder(folder, plan, lambda _percent: None)
        return outcome

    return analyse


def texts(outcome):
    def walk(item):
        for child in item.get("ContentSequence", []):
            yield child
            yield from walk(child)

    report = dcmread(outcome.objects[ObjectKind.SR])
    return [item.TextValue for item in walk(report) if item.ValueType == "TEXT"]


def noise_of(deviation_hu):
    def change(voxels_hu):
        return voxels_hu + np.random.default_rng(1).normal(0.0, deviation_hu, voxels_hu.shape)

    return change


def black(voxels_hu):
    voxels_hu[[30, 31]] = -1024
    return voxels_hu


def truncated(voxels_hu):
    voxels_hu[30, 62:] = -1024
    return voxels_hu


def copied(voxels_hu):
    voxels_hu[31:36] = voxels_hu[30]
    return voxels_hu


def one_copied(voxels_hu):
    voxels_hu[31] = voxels_hu[30]
    return voxels_hu


def upper_half(voxels_hu):
    return voxels_hu[30:]


def lower_half(voxels_hu):
    return voxels_hu[:30]


def without_the_apices(voxels_hu):
    return voxels_hu[:48]


def heart_alone(voxels_hu):
    """A field of view about the heart: padding elsewhere, as in a reconstruction of the coronaries."""
    j, i = np.indices(voxels_hu.shape[1:]) - 79.5
    voxels_hu[:, np.hypot(j, i) > 47] = -1024
    return voxels_hu


def ellipsoid(shape, half_axes, centre=(0.5, 0.5, 0.5)):
    """Return where the given share of each half axis holds, around a centre given in shares of the shape."""
    places = [
        (index - share * size) / (half * size)
        for index, size, half, share in zip(np.indices(shape, sparse=True), shape, half_axes, centre, strict=True)
    ]
    return sum(place**2 for place in places) < 1


def head(voxels_hu):
    """Skin, skull and brain, with air in the sinuses."""
    shape = voxels_hu.shape
    made = np.full(shape, float(AIR_HU))
    made[ellipsoid(shape, (0.6, 0.28, 0.22))] = MUSCLE_HU
    made[ellipsoid(shape, (0.58, 0.26, 0.20))] = 900
    made[ellipsoid(shape, (0.56, 0.24, 0.18))] = 35
    for side in (0.45, 0.55):
        made[ellipsoid(shape, (0.08, 0.04, 0.03), (0.25, 0.32, side))] = AIR_HU
    return made + np.random.default_rng(2).normal(0.0, 10.0, shape)


def abdomen(voxels_hu):
    """A trunk with liver and spine, and gas in the bowel."""
    shape = voxels_hu.shape
    made = np.full(shape, float(AIR_HU))
    made[ellipsoid(shape, (3.0, 0.32, 0.45))] = -100
    made[ellipsoid(shape, (3.0, 0.29, 0.41))] = MUSCLE_HU
    made[ellipsoid(shape, (0.4, 0.2, 0.2), (0.7, 0.45, 0.3))] = 100
    made[ellipsoid(shape, (3.0, 0.06, 0.06), (0.5, 0.7, 0.5))] = 400
    for k, j, i in ((0.3, 0.4, 0.4), (0.4, 0.42, 0.65), (0.6, 0.38, 0.6), (0.5, 0.35, 0.5)):
        made[ellipsoid(shape, (0.08, 0.06, 0.07), (k, j, i))] = AIR_HU
    return made + np.random.default_rng(2).normal(0.0, 10.0, shape)


REFUSED = {
    "noise": (noise_of(180.0), "too_noisy", r"noise in air \d\d\.?\d* HU: at most 60 HU .*quality\.max_air_noise_hu"),
    "black slices": (black, "black_slices", r"black slices 2 \(slice 31 of 60 .*; slice 32 of 60 .*max_black_slices"),
    "a truncated slice": (truncated, "truncated_slices", r"truncated slices 1 \(slice 31 of 60 from below, .*max_tr"),
    "copied slices": (copied, "copied_slices", r"copy another 8\.3 % \(slice 32 of 60 .*slice 36 .*max_copied_percent"),
    "no lower half": (
        upper_half,
        "lungs_cut",
        r"most inferior slice \d+.* base lies outside .*max_lung_at_end_percent",
    ),
    "no upper half": (
        lower_half,
        "lungs_cut",
        r"most superior slice \d+.* apex lies outside .*max_lung_at_end_percent",
    ),
    "the heart alone": (heart_alone, "lungs_cut", r"cut by the field of view \d+.* cm2: .*max_lung_at_edge_cm2"),
    "a head": (head, "lungs_not_found", r"no chest CT: \d+ ml found, at least 500 ml expected \(quality\.min_lungs_ml"),
    "an abdomen": (abdomen, "lungs_not_found", r"no chest CT: \d+ ml found, at least 500 ml expected"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_analysed_is_told_with_figure_and_limit(what, analysed):
    change, code, words = REFUSED[what]
    outcome = analysed(change)
    assert outcome.result is None
    assert outcome.code == code
    assert re.search(words, outcome.reason), outcome.reason
    assert not outcome.objects


def announce(**attributes):
    def edit(files):
        for path in files:
            dataset = dcmread(path)
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)

    return edit


@pytest.mark.parametrize(
    ("edit", "code", "words"),
    [
        (announce(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer", "all 60 images .* are localizers"),
        (announce(Modality="MR"), "wrong_modality", "60 of 60 images are not of Modality CT"),
        (
            announce(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"),
            "wrong_modality",
            "60 of 60 images are not of Modality CT",
        ),
    ],
    ids=["a localizer", "MR", "MR Image Storage"],
)
def test_what_is_no_ct_slice_is_told(edit, code, words, analysed):
    outcome = analysed(edit=edit)
    assert (outcome.result, outcome.code) == (None, code)
    assert re.search(words, outcome.reason)


CAUTIOUS = {
    "noise": (noise_of(100.0), "Noisy images: noise in air"),
    "a copied slice": (one_copied, "1 of 60 slices show the same as another one: slice 32 of 60 from below"),
    "no apices": (without_the_apices, "The most superior slice shows"),
}


@pytest.mark.parametrize("what", CAUTIOUS)
def test_what_is_doubtful_is_analysed_and_both_reports_say_so(what, analysed):
    change, words = CAUTIOUS[what]
    outcome = analysed(change)
    assert outcome.result is not None, outcome.reason
    assert verdict_of(outcome.result.quality) == "analysed with caution"
    sentence, *_ = [figure.sentence for figure in outcome.result.quality if figure.sentence]
    assert sentence.startswith(words)
    assert sentence in outcome.cautions
    assert f"Caution: {sentence}" in texts(outcome)
    assert any(text.startswith("Image quality: analysed with caution; black slices 0, ") for text in texts(outcome))


def test_a_chest_is_analysed_without_a_caution_of_the_gate(analysed):
    outcome = analysed()
    assert [figure.sentence for figure in outcome.result.quality if figure.sentence] == []
    assert any(text.startswith("Image quality: analysed; ") for text in texts(outcome))
    assert {"quality", "quality_of_lungs"} < set(outcome.timings_s)


def test_the_limits_are_those_of_the_settings_and_are_kept_with_the_result(analysed):
    limits = {"caution_tissue_noise_hu": 1.0, "max_tissue_noise_hu": 2.0}
    strict = analysed(limits=limits, name="strict")
    assert strict.code == "too_noisy"
    assert "at most 2 HU can be analysed (quality.max_tissue_noise_hu)" in strict.reason
    cautious = {**limits, "max_tissue_noise_hu": 200.0}
    result = analysed(limits=cautious, name="cautious").result
    (figure,) = [figure for figure in result.quality if figure.verdict is Verdict.WITH_CAUTION]
    assert (figure.name, figure.most) == ("noise in soft tissue", 1.0)
    assert result.configuration["quality"] == QualitySettings(**cautious).model_dump_json()
