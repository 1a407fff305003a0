"""A result made on a copy under the node's options gets its identity back like any other."""

import pytest
from delivery_under_test import run_stages
from pydicom import dcmread

from covnode.deidentify.options import Option
from covnode.deidentify.profile import build_profile
from covnode.wiring.deidentify_profile import OF_THE_NODE

PATIENT = {"PatientName": "Zqfamily^Ann", "PatientAge": "071Y", "PatientSex": "F", "StudyDescription": "for Mrs. Zq"}


@pytest.mark.parametrize("layout", ["axial", "enhanced"])
def test_the_interlock_passes_what_was_made_under_all_of_them(tmp_path, layout):
    profile = build_profile(OF_THE_NODE)
    described = {"SeriesDescription": "thorax routine", "EthnicGroup": "Völk", "SpecificCharacterSet": "ISO_IR 100"}
    delivery, _ = run_stages(tmp_path, layout, profile=profile, **PATIENT, **described)
    delivery.check()
    copy = dcmread(next((tmp_path / "copies").iterdir()), stop_before_pixels=True)
    assert (copy.SeriesDescription, copy.PatientAge, copy.EthnicGroup) == ("thorax routine", "071Y", "Völk")
    assert Option.DESCRIPTORS in profile.options
    assert "StudyDescription" not in copy
    for path in delivery.objects.values():
        result = dcmread(path)
        assert {keyword: str(result[keyword].value) for keyword in PATIENT} == PATIENT
        assert result.EthnicGroup == "Völk"
