"""Lungs, lesions and measures of real patients with lung cancer: two kernels of each acquisition must agree."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from phantom_cases import dice

from covnode.infer.lesions import find_lesions
from covnode.infer.lungs import segment_lungs
from covnode.infer.measures import measure
from covnode.infer.quality import check_lungs, check_volume
from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import Lesion, Lung
from covnode.sections import QualitySettings
from covnode.volume.loading import load_volume

DATA = Path(__file__).parents[4] / "shared" / "data" / "lung-pet-ct-dx"
PAIRS = [("A0001-philips-B-5mm", "A0001-philips-L-5mm"), ("A0002-siemens-B40f-8mm", "A0002-siemens-B70f-8mm")]
# Litres of each lung, as wide as a lung may differ with another definition of its border and hilum.
LITRES = {
    "A0001": {Lung.RIGHT: (3.0, 3.5), Lung.LEFT: (2.2, 2.8)},
    "A0002": {Lung.RIGHT: (1.0, 1.4), Lung.LEFT: (1.4, 1.8)},
}
SERIES = [name for pair in PAIRS for name in pair]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder ../shared/data with real series is absent")


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    results = {}

    def analyse(name):
        if name not in results:
            folder = tmp_path_factory.mktemp(name)
            with tarfile.open(DATA / f"{name}.tar.xz") as archive:
                archive.extractall(folder, filter="data")
            volume = load_volume(DeidentifiedSeries("series", 1, tuple(sorted(folder.rglob("*.dcm"))), "0" * 64))
            lungs = segment_lungs(volume)
            lesions = find_lesions(volume, lungs)
            results[name] = volume, lungs, lesions, measure(volume, lungs, lesions)
        return results[name]

    return analyse


@pytest.mark.parametrize("name", SERIES)
def test_each_lung_has_its_volume_and_its_side(analysed, name):
    volume, lungs, _, figures = analysed(name)
    ranges = LITRES[name[:5]]
    assert ranges[Lung.RIGHT][0] < figures.lung_volume_ml.right / 1000 < ranges[Lung.RIGHT][1]
    assert ranges[Lung.LEFT][0] < figures.lung_volume_ml.left / 1000 < ranges[Lung.LEFT][1]
    right, left = (
        (volume.affine_lps_mm @ [*np.argwhere(lungs.labels == side).mean(axis=0)[::-1], 1])[0] for side in Lung
    )
    # LPS: x grows to the patient's left.
    assert left - right > 100


@pytest.mark.parametrize("name", SERIES)
def test_lungs_hold_lung_and_no_airway_room_or_bone(analysed, name):
    volume, lungs, _, _ = analysed(name)
    inside = volume.voxels_hu[lungs.labels > 0]
    assert -900 < np.median(inside) < -740
    assert np.mean(inside < -950) < 0.15
    assert np.mean(inside > 250) < 0.005
    assert not lungs.labels[:, [0, -1]].any()
    assert not lungs.labels[:, :, [0, -1]].any()
    # The slices above the lungs hold the trachea alone.
    assert not lungs.labels[-1].any()


@pytest.mark.parametrize(("soft", "sharp"), PAIRS)
def test_two_kernels_give_the_same_lungs_and_shares(analysed, soft, sharp):
    _, lungs, _, figures = analysed(soft)
    _, sharp_lungs, _, sharp_figures = analysed(sharp)
    for side in Lung:
        assert dice(lungs.labels == side, sharp_lungs.labels == side) > 0.98
    for one, other in zip(
        figures.affected_percent.model_dump().values(),
        sharp_figures.affected_percent.model_dump().values(),
        strict=True,
    ):
        assert one == pytest.approx(other, abs=2.5)


@pytest.mark.parametrize("name", SERIES)
def test_the_tumour_stays_inside_and_the_rest_is_nearly_free(analysed, name):
    _, lungs, lesions, figures = analysed(name)
    # A0001: a mass of the left upper lobe. A0002: one of the right hilum.
    sick, well = (Lung.LEFT, Lung.RIGHT) if name.startswith("A0001") else (Lung.RIGHT, Lung.LEFT)
    solid = lesions.labels == Lesion.CONSOLIDATION
    mass = np.count_nonzero(solid & (lungs.labels == sick))
    assert mass > 3 * np.count_nonzero(solid & (lungs.labels == well))
    share = figures.affected_percent
    assert (share.right if well is Lung.RIGHT else share.left) < 5
    assert 3 < share.total < 8
    assert not lesions.labels[lungs.labels == 0].any()


@pytest.mark.parametrize("name", SERIES)
def test_cautions_are_about_thick_slices_alone(analysed, name):
    volume, lungs, _, _ = analysed(name)
    quality = (*check_volume(volume, QualitySettings()), *check_lungs(volume, lungs, QualitySettings()))
    found = [figure.sentence for figure in quality if figure.sentence]
    assert [sentence.startswith("Thick slices (8.0 mm, kernel B") for sentence in found] == [True] * name.startswith(
        "A0002"
    )


@pytest.mark.parametrize(("soft", "sharp"), PAIRS)
def test_a_sharp_kernel_is_noisier(analysed, soft, sharp):
    noise = []
    for name in (soft, sharp):
        figures = {figure.name: figure.value for figure in check_volume(analysed(name)[0], QualitySettings())}
        noise.append((figures["noise in air"], figures["noise in soft tissue"]))
    (soft_air, soft_tissue), (sharp_air, sharp_tissue) = noise
    assert 3 * soft_air < sharp_air < 25
    assert 5 < soft_tissue < 15
    assert 3 * soft_tissue < sharp_tissue < 60
