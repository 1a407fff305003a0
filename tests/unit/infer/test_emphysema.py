import numpy as np
import pytest
from phantom_cases import volume_of

from covnode.infer.emphysema import low_attenuation_percent
from covnode.infer.lungs import IDENTITY
from covnode.records.volume import Lung, LungMask

SHAPE = (12, 64, 64)
SPACING_MM = (1.6, 0.8, 0.8)


@pytest.fixture
def lungs():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[:, 8:56, 4:28] = Lung.RIGHT
    labels[:, 8:56, 36:60] = Lung.LEFT
    return LungMask(labels, IDENTITY)


def made(noise_hu, seed=3):
    voxels_hu = np.full(SHAPE, -870.0)
    voxels_hu[:6, 8:56, 4:28] = -985.0  # half of the right lung
    voxels_hu += np.random.default_rng(seed).normal(0.0, noise_hu, SHAPE)
    return volume_of(voxels_hu.astype(np.int16), SPACING_MM)


@pytest.mark.parametrize("noise_hu", [0.0, 40.0])
def test_what_is_thin_counts_for_its_side_whatever_the_noise(lungs, noise_hu):
    found = low_attenuation_percent(made(noise_hu), lungs)
    assert found.model_dump() == pytest.approx({"total": 25.0, "left": 0.0, "right": 50.0}, abs=2.5)


def test_air_outside_of_the_lungs_counts_nowhere_and_an_absent_lung_has_no_share(lungs):
    volume = made(0.0)
    volume.voxels_hu[:, :8] = -1000
    labels = np.where(lungs.labels == Lung.LEFT, 0, lungs.labels).astype(np.uint8)
    assert low_attenuation_percent(volume, LungMask(labels, IDENTITY)).left is None
    assert low_attenuation_percent(volume, lungs).total == pytest.approx(25.0)
