"""The options of PS3.15 Annex E that a copy can be made under, and how a copy states them.

Read by the profile (which action an option puts in place of the Basic Profile's) and by the writing (the codes of
De-identification Method Code Sequence). Data only.
"""

from collections.abc import Iterable
from enum import Enum, StrEnum

METHOD = "covnode: PS3.15 2026c Annex E, by Method Code Sequence"
BASIC_PROFILE = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
"""Stated by the copies whose pixels were masked, and by no other."""


class Option(StrEnum):
    """An option, by the name of its column in profile.csv.

    Clean Graphics is none of them: an overlay is a picture, and what a curve draws may be letters, so that nothing
    short of a person could show that they are clean. Clean Recognizable Visual Features would change the pixels that
    are to be analysed.
    """

    STRUCTURED_CONTENT = "clean_structured_content"
    DESCRIPTORS = "clean_descriptors"
    FULL_DATES = "full_dates"
    MODIFIED_DATES = "modified_dates"
    PATIENT_CHARACTERISTICS = "retain_patient_characteristics"
    DEVICE_IDENTITY = "retain_device_identity"
    UIDS = "retain_uids"
    SAFE_PRIVATE = "retain_safe_private"
    INSTITUTION_IDENTITY = "retain_institution_identity"


class BurnedInText(Enum):
    """What is done about text in the pixels; the value is that of the setting."""

    QUARANTINE = "quarantine"
    MASK = "mask"


RETAIN_AS_SENT = frozenset(
    {
        Option.FULL_DATES,
        Option.PATIENT_CHARACTERISTICS,
        Option.DEVICE_IDENTITY,
        Option.UIDS,
        Option.INSTITUTION_IDENTITY,
    }
)
"""Options that let values of the original stand, where an attribute has action K."""

RETAIN_TEXT = frozenset({Option.PATIENT_CHARACTERISTICS, Option.DEVICE_IDENTITY, Option.INSTITUTION_IDENTITY})
"""Those among them that retain texts, which need their character set."""

METHODS = {
    Option.STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.INSTITUTION_IDENTITY: ("113112", "Retain Institution Identity Option"),
}
"""Code and meaning (PS3.16 CID 7050), in the order of the codes."""


def method_codes(options: Iterable[Option]) -> tuple[tuple[str, str], ...]:
    """Return code and meaning of the Basic Profile and of each option, in the order of the codes."""
    chosen = frozenset(options)
    return (BASIC_PROFILE, *(code for option, code in METHODS.items() if option in chosen))


def longitudinal_information(options: Iterable[Option]) -> str:
    """Return the value of Longitudinal Temporal Information Modified (0028,0303)."""
    chosen = frozenset(options)
    if Option.FULL_DATES in chosen:
        return "UNMODIFIED"
    return "MODIFIED" if Option.MODIFIED_DATES in chosen else "REMOVED"
