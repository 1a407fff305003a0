"""Reads whose series it is: the attributes that go to the vault and come back on results.

Comes from one original of a series; goes to the engine, which puts it into the Identity. Never logs a value.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import BYTES_VR, PersonName

from covnode.deidentify.originals import read_with_pydicom, unreadable
from covnode.dicom.identity_attributes import IDENTITY_KEYWORDS

_BINARY_NUMBERS = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
_REPLACEMENT = "\ufffd"
_KEYWORDS = IDENTITY_KEYWORDS | {"SpecificCharacterSet"}


@dataclass(frozen=True)
class Patient:
    """Patient and study of a series.

    Attributes
    ----------
    attributes
        DICOM JSON (PS3.18 Annex F), with Specific Character Set; DS and IS as the strings that were sent.
    """

    patient_id: str
    issuer: str
    attributes: dict[str, object]

    def __repr__(self) -> str:
        return "Patient(<identity>)"


def read_patient(path: Path) -> Patient:
    """Read the attributes of `IDENTITY_KEYWORDS` that an original has.

    An attribute with a value that its VR does not allow (a weight that is no number) is left out: it could not be
    written again.

    Raises
    ------
    DeidentificationRefused
        ``unreadable_instance``: also when a text cannot be decoded with the stated character set, since it could not
        be given back.
    """
    with read_with_pydicom("its patient attributes are malformed"):
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=[Tag(keyword) for keyword in _KEYWORDS])
        attributes = _data_set_json(dataset)
        patient_id, issuer = str(dataset.get("PatientID") or ""), str(dataset.get("IssuerOfPatientID") or "")
    if _REPLACEMENT in str(attributes):
        raise unreadable("a text cannot be decoded with the stated character set")
    return Patient(patient_id, issuer, attributes)


def _data_set_json(dataset: Dataset) -> dict[str, object]:
    found: dict[str, object] = {}
    for tag in list(dataset.keys()):
        try:
            found[f"{tag:08X}"] = _element_json(dataset[tag])
        except (ValueError, TypeError, ArithmeticError):
            continue
    return found


def _element_json(element: DataElement) -> dict[str, object]:
    json: dict[str, object] = {"vr": str(element.VR)}
    if element.VR == "SQ":
        return json | {"Value": [_data_set_json(item) for item in element.value or ()]}
    if not element.is_empty:
        json |= _value_json(element)
    return json


def _value_json(element: DataElement) -> dict[str, object]:
    if element.VR in BYTES_VR:
        return {"InlineBinary": base64.b64encode(element.value).decode()}
    value = element.value
    values = list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]
    if element.VR in _BINARY_NUMBERS:
        return {"Value": values}
    if element.VR == "AT":
        return {"Value": [f"{int(value):08X}" for value in values]}
    if element.VR == "PN":
        return {"Value": [_name_json(value) for value in values]}
    return {"Value": [None if value is None else str(value) for value in values]}


def _name_json(name: PersonName | str) -> dict[str, str]:
    groups = str(name).split("=")
    return {key: group for key, group in zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False) if group}
