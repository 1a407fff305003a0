"""What a rule may ask for: DICOM keywords, and facts that covnode computes; and what of it may be shown.

Read by grammar (is there such a name?), by facts (how is it read?) and by score (may its value be stored?). Free text
may hold an identity: it is compared and never shown. What names the patient or a date cannot be asked for at all.
"""

import difflib
from enum import StrEnum

from pydicom.datadict import dictionary_VR, keyword_dict

from covnode.choose.conditions import Value
from covnode.dicom.identity_attributes import IDENTITY_KEYWORDS
from covnode.dicom.values import is_code_string
from covnode.errors import ConfigurationError

_FIRST_PIXEL_TAG = 0x7FE00000
_FIRST_TAG = 0x00080000

_NUMBERS = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV", "AS"})
_TEXTS = frozenset({"CS", "LO", "LT", "SH", "ST", "UC", "UT", "AE"})

# What says whose study it is says also what was done; a rule may ask for these, and never shows their values.
_ASKED_OF_IDENTITY = frozenset({"StudyDescription", "PatientAge", "PatientSex", "PatientSize", "PatientWeight"})

SOP_CLASS = "SOPClassUID"
"""The only UID that a rule may ask for; compared and shown by its keyword, such as CTImageStorage."""


class Kind(StrEnum):
    """What the values of a name are."""

    TEXT = "text"
    NUMBER = "a number"
    TRUTH = "true or false"


COMPUTED = {
    "axial": Kind.TRUTH,
    "slices": Kind.NUMBER,
    "coverage_mm": Kind.NUMBER,
    "spacing_mm": Kind.NUMBER,
}
"""Whether the slice axis is nearest to inferior-superior; images without localizers (frames of multi-frame ones);
distance of the outermost slices; median distance of adjacent ones."""


def kind_of(name: str) -> Kind:
    """Return what the values of a name are.

    Raises
    ------
    ConfigurationError
        There is no such name, or a rule may not ask for it; the message names the nearest one.
    """
    if name in COMPUTED:
        return COMPUTED[name]
    if name not in keyword_dict:
        near = difflib.get_close_matches(name, [*COMPUTED, *keyword_dict], n=1, cutoff=0.6)
        hint = f"; is {near[0]} meant?" if near else f"; it is a DICOM keyword, or one of {', '.join(COMPUTED)}"
        raise ConfigurationError(f"there is no '{name}'{hint}")
    vr = _vr_of(name)
    if name == SOP_CLASS:
        return Kind.TEXT
    if name in IDENTITY_KEYWORDS - _ASKED_OF_IDENTITY or vr in {"PN", "DA", "DT", "TM", "UI"}:
        raise ConfigurationError(f"'{name}' may say who the patient is or when: no rule may ask for it")
    if vr not in _NUMBERS | _TEXTS or not _FIRST_TAG <= keyword_dict[name] < _FIRST_PIXEL_TAG:
        raise ConfigurationError(f"'{name}' holds neither text nor numbers that can be compared")
    return Kind.NUMBER if vr in _NUMBERS else Kind.TEXT


def shown(name: str, values: tuple[Value, ...]) -> str | None:
    """Return the values as they may be stored and shown; None where they may not: free text, or about a person."""
    if name in IDENTITY_KEYWORDS:
        return None
    if name in COMPUTED or name == SOP_CLASS or _vr_of(name) in _NUMBERS:
        return "\\".join(_written(value) for value in values)
    if _vr_of(name) == "CS" and all(is_code_string(str(value)) for value in values):
        return "\\".join(str(value) for value in values)
    return None


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else value


def _vr_of(name: str) -> str:
    """First of the VRs that a keyword may have ("US or SS")."""
    return dictionary_VR(keyword_dict[name]).split(" ")[0]
