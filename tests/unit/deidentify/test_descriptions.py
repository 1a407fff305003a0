"""Which descriptions name nobody."""

import pytest

from covnode.deidentify.descriptions import is_clean


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CT Thorax",
        "CHEST^ROUTINE (without contrast)",
        "Thorax 1.0 B40f",
        "lung 5mm axial",
        "Abd/Pelvis w/o",
        "LUNG Br38",
    ],
)
def test_clean(text):
    assert is_clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "CT Thorax Smith",
        "Thorax 2022",
        "Thorax 29 03 51",
        "Thorax 29.03.51",
        "Thorax 123",
        "71y chest",
        "room B12",
        "chest\nof",
        "Lunge Müller",
        "Regions:",
        "MRN-443",
    ],
)
def test_not_clean(text):
    assert not is_clean(text)
