"""What is recorded of the raw values of a header."""

import pytest

from covnode.choose.names import shown
from covnode.receive import header
from covnode.receive.instance_facts import slice_facts


def image_type(raw):
    return slice_facts({header.IMAGE_TYPE: raw}, stat=False).image_type


@pytest.mark.parametrize(
    ("raw", "recorded"),
    [
        (b"ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI ", "ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI"),
        (b"DERIVED\\ SECONDARY \\MPR", "DERIVED\\SECONDARY\\MPR"),
        (b"ORIGINAL\\Jane Doe, 1950-01-02\\LOCALIZER", "ORIGINAL\\\\LOCALIZER"),
        (b"ORIGINAL\\DOE^JANE", "ORIGINAL\\"),
        (b"PATIENT OF DR JANE DOE", None),
        (b"Doe", None),
        (b"\\", None),
        (b"", None),
    ],
)
def test_of_image_type_only_code_strings_are_recorded_each_in_its_place(raw, recorded):
    assert image_type(raw) == recorded


def test_what_is_recorded_of_image_type_is_what_a_score_sheet_may_show():
    values = tuple(value for value in image_type(b"ORIGINAL\\Jane Doe\\AXIAL").split("\\") if value)
    assert shown("ImageType", values) == "ORIGINAL\\AXIAL"
    assert shown("ImageType", ("ORIGINAL", "Jane Doe")) is None
