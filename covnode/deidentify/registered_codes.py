"""Codes that name no person, since a standard registers them: what may stay of a code sequence.

Comes from codes.csv and pydicom's dictionaries of PS3.16; goes to the cleaning, which writes the registered meaning
and never the sent one, and to the check.
"""

import csv
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from importlib.resources import files

import pydicom.sr.coding
from pydicom.sr.codedict import codes

CODE_VALUE, CODING_SCHEME, CODE_MEANING = 0x00080100, 0x00080102, 0x00080104
CODE_ELEMENTS = (CODE_VALUE, CODING_SCHEME, CODE_MEANING)
"""What makes a code (PS3.3 table 8.8-1)."""

Code = tuple[str, str, str]
# Names of content items that tell of a person or a device, whose values are codes, figures or containers (PS3.15
# Table E.3.4-1): Subject Sex and Subject Age, which Retain Patient Characteristics keeps; Experience and Unique
# Device Identifiers.
_OF_THE_PATIENT = frozenset({("121032", "DCM"), ("121033", "DCM")})
_OF_OTHERS = frozenset({("C54627", "NCIt"), ("121000", "DCM")})
_LONGEST_VALUE, _LONGEST_MEANING = 16, 64  # of SH and LO


class Codes(StrEnum):
    """Which codes of a sequence stay.

    Attributes
    ----------
    REGIONS
        Anatomic regions.
    STANDARD, STANDARD_AND_PATIENT
        All that PS3.16 names; with the second, those that name the patient's sex and age too.
    AS_SENT
        All, with the sent meaning.
    """

    REGIONS = "regions"
    STANDARD = "standard"
    STANDARD_AND_PATIENT = "standard and patient"
    AS_SENT = "as sent"


@cache
def registered_codes(which: Codes) -> dict[tuple[str, str], Code]:
    """Return (value, scheme) -> (value, scheme, meaning); empty for codes that stay as sent."""
    if which is Codes.AS_SENT:
        return {}
    if which is Codes.REGIONS:
        return _regions()
    left_out = _OF_OTHERS if which is Codes.STANDARD_AND_PATIENT else _OF_OTHERS | _OF_THE_PATIENT
    return {key: code for key, code in (_of_the_standard() | _regions()).items() if key not in left_out}


def _regions() -> dict[tuple[str, str], Code]:
    """Anatomic regions of PS3.16 CID 4031 and their kin."""
    found = _by_key(getattr(codes.cid4031, name) for name in codes.cid4031.dir())
    for row in csv.DictReader((files(__package__) / "codes.csv").read_text(encoding="utf-8").splitlines()):
        code = (row["value"], row["scheme"], row["meaning"])
        found[code[:2]] = code
    return found


@cache
def _of_the_standard() -> dict[tuple[str, str], Code]:
    """Every code of pydicom's dictionaries that its elements have room for."""
    found = {}
    for scheme in codes.schemes():
        collection = getattr(codes, scheme)
        found.update(_by_key(getattr(collection, name) for name in collection.dir()))
    return {
        key: code
        for key, code in found.items()
        if len(code[0]) <= _LONGEST_VALUE and len(code[2]) <= _LONGEST_MEANING and code[2].isascii()
    }


def _by_key(some: Iterable[pydicom.sr.coding.Code]) -> dict[tuple[str, str], Code]:
    return {(code.value, code.scheme_designator): (code.value, code.scheme_designator, code.meaning) for code in some}
