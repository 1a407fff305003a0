"""Elements from DICOM JSON (PS3.18 Annex F) as the vault keeps them.

Comes from an Identity; goes to restore. Unlike pydicom's own reader it keeps DS and IS as the strings that were sent.
"""

import base64
from typing import cast

from pydicom.dataelem import DataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def element_from_json(tag: int, json: object) -> DataElement:
    """Make an element from its JSON: {"vr": ..., "Value": [...]}, or with InlineBinary, or empty.

    Raises
    ------
    KeyError, TypeError, ValueError
        When the JSON is not of that form.
    """
    fields = cast("dict[str, object]", json)
    vr = str(fields["vr"])
    if "InlineBinary" in fields:
        return DataElement(tag, vr, base64.b64decode(str(fields["InlineBinary"])))
    values = [_value(vr, value) for value in cast("list[object]", fields.get("Value", []))]
    if vr == "SQ":
        return DataElement(tag, vr, Sequence(cast("list[Dataset]", values)))
    if not values:
        return DataElement(tag, vr, empty_value_for_VR(vr))
    return DataElement(tag, vr, values if len(values) > 1 else values[0])


def _value(vr: str, value: object) -> object:
    if vr == "SQ":
        elements = cast("dict[str, object]", value)
        item = Dataset()
        for tag, json in elements.items():
            item.add(element_from_json(int(tag, 16), json))
        return item
    if vr == "PN":
        groups = cast("dict[str, str]", value)
        return "=".join(groups.get(group, "") for group in _NAME_GROUPS).rstrip("=")
    if vr == "AT":
        return int(str(value), 16)
    return "" if value is None else value
