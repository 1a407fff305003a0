"""What happens to each attribute: PS3.15 Annex E as data, and our own list of what may stay.

Comes from profile.csv (PS3.15 2026c Table E.1-1: Basic Profile and the option Retain Longitudinal Temporal
Information with Modified Dates) and kept.csv (standard attributes outside that table that describe the CT image, and
two that an Enhanced CT must have, as dummies); goes to the engine and to the check. An attribute in neither is removed:
private, unknown and every other one.

profile.csv was made from the dictionary of dicom-anonymizer 2.1.0 (2026c) and compared with two other transcripts of
the table, of 2021 and 2024.
"""

import csv
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from pydicom.sr.codedict import codes

IMPLEMENTATION_CLASS_UID = "2.25.32549601748866264047196106319363603557"
IMPLEMENTATION_VERSION_NAME = "COVNODE"
PROFILE = "Basic Application Confidentiality Profile"
OPTION = "Retain Longitudinal Temporal Information Modified Dates Option"
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
"""Method code of the copies whose pixels were masked."""
METHOD = "covnode: PS3.15 2026c Annex E, by Method Code Sequence"
_FIRST_OF_DATA_SETS = 0x00080000
METHOD_CODES = (("113100", PROFILE), ("113107", OPTION))


class Action(StrEnum):
    """Action codes of PS3.15 Table E.1-1a; KEEP is the rule of kept.csv."""

    DUMMY = "D"
    ZERO = "Z"
    REMOVE = "X"
    KEEP = "K"
    CLEAN = "C"
    UID = "U"


@dataclass(frozen=True, slots=True)
class Rule:
    """The action on one attribute.

    Attributes
    ----------
    terms
        For KEEP: the values that may stay (upper case); empty where the VR alone decides.
    text
        For KEEP of text that describes the device: kept as sent if it is plain text.
    digits
        For KEEP of text that must be a number.
    codes
        For KEEP of a code sequence: only registered codes stay, with the registered meaning.
    """

    action: Action
    terms: frozenset[bytes] = frozenset()
    text: bool = False
    digits: bool = False
    codes: bool = False


def _table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((files(__package__) / name).read_text(encoding="utf-8").splitlines()))


def _from_table(row: dict[str, str]) -> Rule:
    """Take the last letter of a compound action, which conforms with every IOD (PS3.15 Table E.1-1a).

    Sequences that may be removed are: a CT image needs none of them, but Acquisition Context may have to be there.
    """
    actions = row["basic"].rstrip("*").split("/")
    if row["modified_dates"] == "C":
        return Rule(Action.CLEAN)
    if actions[0] == "X" and actions[-1] != "U" and row["keyword"].endswith("Sequence"):
        return Rule(Action.ZERO) if row["keyword"] == "AcquisitionContextSequence" else Rule(Action.REMOVE)
    return Rule(Action(actions[-1]))


def _from_kept(row: dict[str, str]) -> Rule:
    values = row["values"]
    if values == "dummy":
        return Rule(Action.DUMMY)
    if values in {"*", "#", "code"}:
        return Rule(Action.KEEP, text=values == "*", digits=values == "#", codes=values == "code")
    return Rule(Action.KEEP, terms=frozenset(term.encode() for term in values.split("|") if term))


@cache
def rules() -> dict[int, Rule]:
    """Rule by tag; a tag that is not in it is removed (so are 50xx and 60xx, whose rows are all X).

    Attributes of commands, file meta information and directories have no place in a data set, whatever their row says.
    """
    kept = {int(row["tag"], 16): _from_kept(row) for row in _table("kept.csv")}
    table = {int(row["tag"], 16): _from_table(row) for row in _table("profile.csv") if "X" not in row["tag"].upper()}
    foreign = {tag: Rule(Action.REMOVE) for tag in table if tag < _FIRST_OF_DATA_SETS}
    return kept | table | foreign


@cache
def clauses() -> dict[int, str]:
    """State, for people, which table the rule on a tag is from."""
    kept = {int(row["tag"], 16): "kept list of covnode (kept.csv)" for row in _table("kept.csv")}
    table = {
        int(row["tag"], 16): f"PS3.15 Table E.1-1, {OPTION if row['modified_dates'] == 'C' else 'Basic Profile'}"
        for row in _table("profile.csv")
        if "X" not in row["tag"].upper()
    }
    return kept | table


@cache
def registered_codes() -> dict[tuple[str, str], tuple[str, str, str]]:
    """(code value, scheme) -> (value, scheme, meaning) of the anatomic regions of PS3.16 CID 4031 and their kin."""
    regions = (getattr(codes.cid4031, name) for name in codes.cid4031.dir())
    found = {
        (code.value, code.scheme_designator): (code.value, code.scheme_designator, code.meaning) for code in regions
    }
    for row in _table("codes.csv"):
        code = (row["value"], row["scheme"], row["meaning"])
        found[code[:2]] = code
    return found
