import math

import pytest

from covnode.imaging.slice_axis import along, normal_of

TURNED = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("orientation", "normal"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 0, 1)),
        ((1, 0, 0, 0, 0, -1), (0, 1, 0)),
        ((0, 1, 0, 0, 0, -1), (-1, 0, 0)),
        ((TURNED, TURNED, 0, 0, 0, 1), (TURNED, -TURNED, 0)),
        ((2, 0, 0, 0, 2, 0), (0, 0, 1)),
        ((1, 0, 0, 1, 0, 0), None),
        ((1, 0, 0, math.cos(0.4), math.sin(0.4), 0), None),
        ((0, 0, 0, 0, 0, 0), None),
        ((1e200, 0, 0, 0, 1e200, 0), None),
        ((math.nan, 0, 0, 0, 1, 0), None),
    ],
)
def test_the_normal_is_a_unit_vector_or_there_is_none(orientation, normal):
    found = normal_of(tuple(map(float, orientation)))
    assert found == (None if normal is None else pytest.approx(normal))


def test_the_place_along_the_axis_is_in_mm_with_its_sign():
    assert along((0.0, 0.6, 0.8), (100.0, -10.0, 5.0)) == pytest.approx(-2.0)
