import pytest

from covnode.deliver.dicom_json import element_from_json


@pytest.mark.parametrize(
    ("json", "value"),
    [
        ({"vr": "LO", "Value": ["a", "b"]}, ["a", "b"]),
        ({"vr": "LO", "Value": [None, "b"]}, ["", "b"]),
        ({"vr": "DA"}, ""),
        ({"vr": "SQ"}, []),
        ({"vr": "OB", "InlineBinary": "AAEC"}, b"\0\1\2"),
        ({"vr": "AT", "Value": ["00100010"]}, 0x00100010),
        ({"vr": "US", "Value": [4]}, 4),
        ({"vr": "PN", "Value": [{"Ideographic": "山田^太郎"}]}, "=山田^太郎"),
    ],
)
def test_elements_from_json(json, value):
    element = element_from_json(0x00100020, json)
    assert element.value == value
    assert json["vr"] == element.VR


@pytest.mark.parametrize("value", ["070.50", "1.", "+1", "1e2"])
def test_decimal_strings_stay_as_they_were_sent(value):
    assert str(element_from_json(0x00101030, {"vr": "DS", "Value": [value]}).value) == value


def test_items_nest():
    inner = {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["X"]}}]}
    outer = element_from_json(0x00101002, {"vr": "SQ", "Value": [{"00101002": inner}, {}]})
    assert outer.value[0].OtherPatientIDsSequence[0].PatientID == "X"
    assert len(outer.value) == 2
