from dataclasses import replace

import numpy as np
import pytest
from phantom_cases import volume_of

from covnode.errors import LungsNotFound
from covnode.infer.lesions import IDENTITY as LESIONS
from covnode.infer.lungs import IDENTITY as LUNGS
from covnode.infer.measures import measure
from covnode.infer.plausibility import cautions, require_lungs
from covnode.records.result import Acquisition
from covnode.records.volume import LesionMask, Lung, LungMask

# Voxels of 5 x 4 x 4 mm: 0.08 ml; a slice of 60 x 100 voxels is 960 cm2.
VOLUME = volume_of(np.full((40, 60, 100), -850, dtype=np.int16), (5.0, 4.0, 4.0))


def lungs_in(slices, rows, right, left):
    labels = np.zeros(VOLUME.voxels_hu.shape, dtype=np.uint8)
    labels[slices, rows, right] = Lung.RIGHT
    labels[slices, rows, left] = Lung.LEFT
    return LungMask(labels, LUNGS)


def cautions_on(lungs, volume=VOLUME):
    lesions = LesionMask(np.zeros_like(lungs.labels), LESIONS)
    return cautions(volume, lungs, measure(volume, lungs, lesions))


USUAL = lungs_in(slice(2, 38), slice(10, 50), slice(10, 40), slice(55, 80))


def test_usual_lungs_need_no_caution():
    assert cautions_on(USUAL) == ()


@pytest.mark.parametrize(
    ("lungs", "words"),
    [
        (lungs_in(slice(2, 38), slice(10, 50), slice(10, 40), slice(55, 56)), "The left lung was hardly found"),
        (lungs_in(slice(2, 38), slice(10, 50), slice(10, 11), slice(55, 80)), "The right lung was hardly found"),
        (lungs_in(slice(15, 25), slice(10, 40), slice(10, 30), slice(55, 75)), "unusually little"),
        (lungs_in(slice(1, 39), slice(2, 58), slice(2, 50), slice(50, 98)), "unusually much"),
        (lungs_in(slice(2, 40), slice(10, 50), slice(10, 40), slice(55, 80)), "most superior slice"),
        (lungs_in(slice(0, 38), slice(10, 50), slice(10, 40), slice(55, 80)), "most inferior slice"),
        (lungs_in(slice(2, 38), slice(10, 50), slice(0, 30), slice(55, 80)), "edge of the field of view"),
    ],
)
def test_each_doubt_has_its_sentence(lungs, words):
    found = cautions_on(lungs)
    assert len(found) == 1
    assert words in found[0]


def test_thick_slices_are_named_with_thickness_and_kernel():
    thick = replace(VOLUME, acquisition=Acquisition(slice_thickness_mm=8.0, convolution_kernel="B70f"))
    (sentence,) = cautions_on(USUAL, thick)
    assert "8.0 mm" in sentence
    assert "B70f" in sentence
    far_apart = replace(VOLUME, spacing_mm=(10.0, 4.0, 4.0))
    assert any("10.0 mm" in caution for caution in cautions_on(USUAL, far_apart))


def test_too_little_lung_is_refused_by_its_volume():
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[:5] = Lung.LEFT
    require_lungs(labels, voxel_ml=1.0)
    with pytest.raises(LungsNotFound, match="495 ml"):
        require_lungs(labels, voxel_ml=0.99)
