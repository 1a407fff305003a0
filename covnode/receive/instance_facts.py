"""What the raw header values of an instance say: its UIDs, whose it is, where it lies in its series.

Comes from header; goes to spool. A value that makes no sense is None here: whoever needs it says what is missing.
"""

import math
import re
from functools import lru_cache

from covnode.dicom.dimse import CANNOT_UNDERSTAND
from covnode.dicom.values import is_code_string
from covnode.errors import InstanceRefused
from covnode.receive import header
from covnode.records.arrival import SliceFacts

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64
_STAT = frozenset({"STAT", "HIGH"})
_LARGEST_COUNT = 10**9
# Most values come again: in the data set what was in its command, in the next slice what is of the series.
_MOST_KNOWN = 1000
_NO_CONTROLS = dict.fromkeys(range(32))

RawValues = dict[int, bytes]


def is_uid(text: str) -> bool:
    """Whether it is a UID that may name something (PS3.5 section 9.1; leading zeros occur and are let pass)."""
    return len(text) <= _UID_LENGTH and _is_uid(text)


@lru_cache(_MOST_KNOWN)
def _is_uid(text: str) -> bool:
    return _UID.fullmatch(text) is not None


def uid(values: RawValues, tag: int, keyword: str) -> str:
    """Return a UID of the data set.

    Raises
    ------
    InstanceRefused
        0xC000: it is absent or no UID; the message holds no value.
    """
    text = _text(values.get(tag)) or ""
    if not is_uid(text):
        raise InstanceRefused(f"the data set has no valid {keyword}", CANNOT_UNDERSTAND)
    return text


def patient_words(values: RawValues) -> tuple[str, str]:
    """Return what names the patient: Patient ID, and family and given name without case and padding.

    Middle names, prefixes and other spellings of the name are left out: consoles of one department differ there.
    """
    name = (_text(values.get(header.PATIENT_NAME)) or "").split("=")[0].casefold()
    family_and_given = "^".join(" ".join(part.split()) for part in name.split("^")[:2]).strip("^")
    return _text(values.get(header.PATIENT_ID)) or "", family_and_given


def slice_facts(values: RawValues, *, stat: bool) -> SliceFacts:
    """Return where the instance lies in its series; ``stat``: the sender asked for haste."""
    raw = values.get
    orientation = _numbers(raw(header.IMAGE_ORIENTATION_PATIENT), 6)
    position = _numbers(raw(header.IMAGE_POSITION_PATIENT), 3)
    return SliceFacts(
        instance_number=_integer(raw(header.INSTANCE_NUMBER)),
        acquisition_number=_integer(raw(header.ACQUISITION_NUMBER)),
        position_lps_mm=None if position is None else (position[0], position[1], position[2]),
        orientation_lps=None if orientation is None else (*orientation[:3], *orientation[3:6]),  # type: ignore[arg-type]
        frames=_integer(raw(header.NUMBER_OF_FRAMES)),
        expected_instances=_count(raw(header.NUMBER_OF_SERIES_RELATED_INSTANCES)),
        images_in_acquisition=_count(raw(header.IMAGES_IN_ACQUISITION)),
        image_type=_code_strings(raw(header.IMAGE_TYPE)),
        stat=stat or _is_stat(raw(header.STUDY_PRIORITY_ID)) or _is_stat(raw(header.REQUESTED_PROCEDURE_PRIORITY)),
    )


def _text(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    text = raw.decode("latin-1").strip("\0 ")
    # Any bytes are read; a control character has no place in these values, and PostgreSQL takes no NUL.
    return text if text.isprintable() else text.translate(_NO_CONTROLS).strip()


def _is_stat(raw: bytes | None) -> bool:
    return (_text(raw) or "").upper() in _STAT


@lru_cache(_MOST_KNOWN)
def _code_strings(raw: bytes | None) -> str | None:
    """Values that are code strings, each in its place: any other is free text, which has no place in our tables."""
    found = [part.strip() for part in (_text(raw) or "").split("\\")]
    kept = [part if is_code_string(part) else "" for part in found]
    return "\\".join(kept) if any(kept) else None


@lru_cache(_MOST_KNOWN)
def _integer(raw: bytes | None) -> int | None:
    text = _text(raw)
    try:
        number = int(text) if text else None
    except ValueError:
        return None
    return number if number is not None and abs(number) <= _LARGEST_COUNT else None


def _count(raw: bytes | None) -> int | None:
    number = _integer(raw)
    return number if number is not None and number > 0 else None


@lru_cache(_MOST_KNOWN)
def _numbers(raw: bytes | None, count: int) -> tuple[float, ...] | None:
    text = _text(raw)
    try:
        numbers = tuple(float(part) for part in text.split("\\")) if text else ()
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
