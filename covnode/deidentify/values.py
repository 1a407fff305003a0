"""Values that may stand in a de-identified file: checked, moved, replaced or dummies (PS3.15 Annex E.1.1).

Comes from the engine with one value's bytes; goes back as bytes of the same VR. None means: no value of that kind,
so nothing may stay. Never guesses what a malformed value might have meant.
"""

import re
import struct
from collections.abc import Callable
from datetime import date, timedelta

from pydicom._uid_dict import UID_dictionary  # pydicom.uid.UID would warn, and quote a malformed value

from covnode.deidentify.elements import vr_of
from covnode.deidentify.options import Option
from covnode.deidentify.profile import Rule

DUMMY_TEXT = b"REMOVED"
_NUMBER = re.compile(rb"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_INTEGER = re.compile(rb"[-+]?\d+")
_LONGEST_NUMBER = 32  # DS allows 16 characters, some modalities write doubles in full
_DIGITS = re.compile(rb" *\d{1,16} *")
_DEVICE_TEXT = re.compile(rb"[ -~]{0,64}")
_DATE = re.compile(rb"(\d{4})([.-]?)(\d{2})\2(\d{2})")
_TIME = re.compile(rb"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")
_DATE_TIME = re.compile(rb"(\d{8})((?:\d{2}){0,3}(?:\.\d{1,6})?(?:[-+]\d{4})?)")
_TIMEZONE = re.compile(rb"[-+]\d{4}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_FORMS = {"AS": re.compile(rb"\d{3}[DWMY]"), "CS": re.compile(rb"[A-Z0-9_ ]{1,16}")}
_CONTROL = re.compile(rb"[\0-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")  # but for those of texts and of character sets
_TEMPORAL_VRS = frozenset({"DA", "DT", "TM"})
_NO_CONTRAST = frozenset({b"NO", b"NONE", b"N", b"NON", b"WITHOUT", b"W/O", b"0", b"-", b"NO CONTRAST", b"NATIVE"})

# bytes, code of struct, and a bound below any four or eight ASCII letters read as one number (NaN is never below)
_NUMBERS_OF_VR = {
    "US": (2, "H", 1 << 16),
    "SS": (2, "h", 1 << 16),
    "UL": (4, "L", 1 << 29),
    "SL": (4, "l", 1 << 29),
    "FL": (4, "f", 1 << 19),
    "FD": (8, "d", 1 << 19),
    "AT": (4, "L", 1 << 32),
    "OV": (8, "Q", 1 << 60),
    "UV": (8, "Q", 1 << 60),
    "SV": (8, "q", 1 << 60),
}
_SMALLEST_FRACTION = 1e-9  # no figure of an image is smaller, but letters before zeros are
_TEXT_AS_FRACTION = re.compile(rb"[ -~]{4,}\0*")  # digits, and letters before @ or ?, are not out of bounds
BINARY_BYTES = {vr: size for vr, (size, _, _) in _NUMBERS_OF_VR.items()}
TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
STRING_VRS = TEXT_VRS | {"AS", "DA", "DS", "DT", "IS", "TM", "UI"}
_DUMMIES = {"AS": b"000Y", "DA": b"19000101", "DS": b"0", "DT": b"19000101000000", "IS": b"0", "TM": b"000000"}


def strip(raw: bytes) -> bytes:
    """Take the padding off."""
    return raw.strip(b" \0")


def dummy(vr: str) -> bytes:
    """Make a value of the VR that says nothing (action D)."""
    if vr in TEXT_VRS:
        return DUMMY_TEXT
    return _DUMMIES.get(vr) or bytes(BINARY_BYTES.get(vr, 2))


def keep_numbers(vr: str, raw: bytes, most: int, order: str) -> bytes | None:
    """Return binary numbers as sent if they can be figures of an image, not letters in disguise.

    Parameters
    ----------
    most
        Largest number of values; 0: no limit.
    order
        "<" or ">", the byte order.
    """
    size, code, largest = _NUMBERS_OF_VR[vr]
    if len(raw) % size or (most and len(raw) > most * size):
        return None
    numbers = struct.unpack(f"{order}{len(raw) // size}{code}", raw)
    if vr == "AT":  # any four letters are a tag, but none of the standard's
        return raw if all(vr_of(_tag(number, order)) for number in numbers) else None
    if vr in {"FL", "FD"} and not _are_fractions(numbers, raw, size):
        return None
    return raw if all(abs(number) < largest for number in numbers) else None


def _are_fractions(numbers: tuple[float, ...], raw: bytes, size: int) -> bool:
    parts = (raw[start : start + size] for start in range(0, len(raw), size))
    return not any(map(_TEXT_AS_FRACTION.fullmatch, parts)) and all(
        not number or abs(number) >= _SMALLEST_FRACTION for number in numbers
    )


def _tag(number: int, order: str) -> int:
    """Put group and element in their order: each half is a number of its own (PS3.5 section 6.2)."""
    return number if order == ">" else number >> 16 | (number & 0xFFFF) << 16


def keep(rule: Rule, vr: str, raw: bytes) -> bytes | None:
    """Return a string value as sent where the rule lets it stay.

    Parameters
    ----------
    vr
        Of the standard's dictionary.
    """
    if vr == "DS":
        return raw if _all_match(_NUMBER, raw) else None
    if vr == "IS":
        return raw if _all_match(_INTEGER, raw) else None
    if rule.text:
        return raw if _DEVICE_TEXT.fullmatch(strip(raw)) else None
    if rule.digits:
        return raw if _DIGITS.fullmatch(strip(raw)) else None
    return _terms(rule.terms, raw)


def retain(rule: Rule, vr: str, raw: bytes) -> bytes | None:
    """Return a string value that an option lets stand, in whatever character set, if it is one of its VR."""
    if vr in _TEMPORAL_VRS or rule.option is Option.FULL_DATES:
        return moved(vr, raw, 0)
    if vr in {"DS", "IS"}:
        return keep(rule, vr, raw)
    if vr in _FORMS:
        values = map(strip, raw.split(b"\\"))
        return raw if all(not value or _FORMS[vr].fullmatch(value) for value in values) else None
    return None if _CONTROL.search(strip(raw)) else raw


def are_uids(raw: bytes) -> bool:
    """Whether each value has the form of a UID."""
    return all(not value or is_uid(value.decode("latin-1")) for value in map(strip, raw.split(b"\\")))


def _all_match(pattern: re.Pattern[bytes], raw: bytes) -> bool:
    values = map(strip, raw.split(b"\\"))
    return all(not value or (len(value) <= _LONGEST_NUMBER and pattern.fullmatch(value)) for value in values)


def _terms(terms: frozenset[bytes], raw: bytes) -> bytes | None:
    values = [strip(value) for value in raw.split(b"\\")]
    if not any(values):
        return b""
    kept = [value if not value or value.upper() in terms else None for value in values]
    if None not in kept:
        return raw
    # Image Type holds vendors' values after the standard's; their places count
    return b"\\".join(value if value is not None else b"OTHER" for value in kept) if b"OTHER" in terms else None


def moved(vr: str, raw: bytes, offset_days: int) -> bytes | None:
    """Move the dates of a temporal value, keep its times (option Modified Dates)."""
    values = [_moved_value(vr, value, offset_days) if value else b"" for value in map(strip, raw.split(b"\\"))]
    return None if None in values else b"\\".join(value for value in values if value is not None)


def _moved_value(vr: str, value: bytes, offset_days: int) -> bytes | None:
    if vr == "DA":
        return _moved_date(value, offset_days)
    if vr == "DT":
        return _moved_date_time(value, offset_days)
    return value if (_TIME if vr == "TM" else _TIMEZONE).fullmatch(value) else None


def _moved_date(value: bytes, offset_days: int) -> bytes | None:
    match = _DATE.fullmatch(value)
    if match is None:
        return None
    try:
        day = date(int(match[1]), int(match[3]), int(match[4])) + timedelta(days=offset_days)
    except (ValueError, OverflowError):
        return None
    return f"{day:%Y%m%d}".zfill(8).encode()


def _moved_date_time(value: bytes, offset_days: int) -> bytes | None:
    match = _DATE_TIME.fullmatch(value)
    day = _moved_date(match[1], offset_days) if match else None
    return day + match[2] if match and day else None


def replaced_uids(raw: bytes, pseudonym: Callable[[str], str]) -> bytes:
    """Every UID replaced, unless PS3.6 registers it (SOP classes, transfer syntaxes, well-known frames)."""
    values = [strip(value).decode("ascii", "backslashreplace") for value in raw.split(b"\\")]
    return "\\".join(value if not value or is_registered(value) else pseudonym(value) for value in values).encode()


def contrast_agent(raw: bytes) -> bytes:
    """Whether there was an agent, not which: empty, or a dummy (action Z/D on Contrast/Bolus Agent)."""
    value = strip(raw).upper()
    return b"" if not value or value in _NO_CONTRAST else DUMMY_TEXT


def is_registered(uid: str) -> bool:
    """Whether PS3.6 registers the UID: a class, a transfer syntax, a well-known frame of reference."""
    return uid in UID_dictionary


def registered_name(uid: str) -> str:
    """Return the name that PS3.6 gives to a UID; empty for any other."""
    return UID_dictionary.get(uid, ("",))[0]


def is_uid(value: str) -> bool:
    """Whether the text has the form of a UID (PS3.5 section 9.1)."""
    return len(value) <= 64 and _UID.fullmatch(value) is not None
