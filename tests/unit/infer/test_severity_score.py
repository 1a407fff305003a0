import pytest

from covnode.infer.severity import ctsi, severity_category
from covnode.records.result import SeverityCategory


@pytest.mark.parametrize(
    ("score", "category"),
    [
        (0.0, "Low"),
        (19.0, "Low"),
        (19.99, "Low"),
        (20.0, "Mild"),
        (39.99, "Mild"),
        (40.0, "Moderate"),
        (59.99, "Moderate"),
        (60.0, "Severe"),
        (79.99, "Severe"),
        (80.0, "Critical"),
        (100.0, "Critical"),
    ],
)
def test_category_boundaries(score, category):
    assert severity_category(score) is SeverityCategory(category)


def test_ctsi_is_the_floor_of_a_quarter():
    assert [ctsi(score) for score in (0.0, 3.99, 4.0, 43.03, 52.0, 99.99, 100.0)] == [0, 0, 1, 10, 13, 24, 25]
    assert [ctsi(float(score)) for score in range(101)] == [score * 25 // 100 for score in range(101)]
