import numpy as np
import pytest
from phantom_cases import volume_of

from covnode.infer.lesions import IDENTITY as LESIONS
from covnode.infer.lungs import IDENTITY as LUNGS
from covnode.infer.measures import measure
from covnode.records.result import PerSide
from covnode.records.volume import Lesion, LesionMask, Lung, LungMask

# Voxels of 5 x 2 x 2 mm: 0.02 ml.
VOLUME = volume_of(np.full((4, 10, 20), -850, dtype=np.int16), (5.0, 2.0, 2.0))


@pytest.fixture
def lungs():
    labels = np.zeros(VOLUME.voxels_hu.shape, dtype=np.uint8)
    labels[1:4, 2:7, 2:8] = Lung.RIGHT
    labels[1:4, 2:7, 12:16] = Lung.LEFT
    return LungMask(labels, LUNGS)


@pytest.fixture
def lesions():
    labels = np.zeros(VOLUME.voxels_hu.shape, dtype=np.uint8)
    labels[1, 2:7, 2:8] = Lesion.GROUND_GLASS
    labels[1, 2:4, 2:8] = Lesion.CONSOLIDATION
    labels[2, 3, 12:16] = Lesion.GROUND_GLASS
    return LesionMask(labels, LESIONS)


def test_volumes_and_shares_by_side(lungs, lesions):
    found = measure(VOLUME, lungs, lesions)
    assert found.lung_volume_ml.model_dump() == pytest.approx({"total": 3.0, "left": 1.2, "right": 1.8})
    assert found.ground_glass_ml.right == pytest.approx(18 * 0.02)
    assert found.ground_glass_ml.left == pytest.approx(4 * 0.02)
    assert found.ground_glass_ml.total == pytest.approx(22 * 0.02)
    assert found.consolidation_ml.model_dump() == pytest.approx({"total": 0.24, "left": 0.0, "right": 0.24})
    assert found.affected_percent.right == pytest.approx(100 * 30 / 90)
    assert found.affected_percent.left == pytest.approx(100 * 4 / 60)
    assert found.affected_percent.total == pytest.approx(100 * 34 / 150)


def test_zones_are_thirds_of_each_lungs_own_height(lungs, lesions):
    zones = measure(VOLUME, lungs, lesions).affected_percent_of_zones
    assert zones.right.model_dump() == {"upper": 0.0, "middle": 0.0, "lower": 100.0}
    assert zones.left.model_dump() == {"upper": 0.0, "middle": pytest.approx(20.0), "lower": 0.0}


def test_slices_run_from_the_most_superior(lungs, lesions):
    slices = measure(VOLUME, lungs, lesions).slices
    assert [(part.index, part.position_mm) for part in slices] == [(0, 15.0), (1, 10.0), (2, 5.0), (3, 0.0)]
    assert [part.affected_percent for part in slices] == [0.0, pytest.approx(100 * 4 / 50), pytest.approx(60.0), None]


def test_lesions_outside_of_the_lungs_count_nowhere(lungs):
    labels = np.zeros(VOLUME.voxels_hu.shape, dtype=np.uint8)
    labels[:, :, 9:11] = Lesion.CONSOLIDATION
    found = measure(VOLUME, lungs, LesionMask(labels, LESIONS))
    assert found.consolidation_ml == PerSide(total=0.0, left=0.0, right=0.0)
    assert found.affected_percent == PerSide(total=0.0, left=0.0, right=0.0)


def test_a_lung_that_is_absent_has_no_share(lungs, lesions):
    labels = lungs.labels.copy()
    labels[labels == Lung.LEFT] = 0
    found = measure(VOLUME, LungMask(labels, LUNGS), lesions)
    assert found.lung_volume_ml.left == 0.0
    assert found.affected_percent.left is None
    assert found.affected_percent.total == found.affected_percent.right
    nothing = measure(VOLUME, LungMask(np.zeros_like(labels), LUNGS), lesions)
    assert nothing.affected_percent == PerSide(total=None, left=None, right=None)


def test_a_voxel_of_an_oblique_series_has_the_affines_volume(lungs, lesions):
    tilted = VOLUME.affine_lps_mm.copy()
    turn = np.deg2rad(20)
    tilted[:3, :3] = (
        np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]) @ tilted[:3, :3]
    )
    oblique = volume_of(VOLUME.voxels_hu, VOLUME.spacing_mm, tilted)
    assert measure(oblique, lungs, lesions).lung_volume_ml.total == pytest.approx(3.0)
