"""What the raw header values of an instance say: its UIDs, whose it is, where it lies in its series.

Comes from header; goes to spool. A value that makes no sense is None here: whoever needs it says what is missing.
"""

import math
import re

from covnode.dicom.dimse import CANNOT_UNDERSTAND
from covnode.dicom.values import is_code_string
from covnode.errors import InstanceRefused
from covnode.receive import header
from covnode.records.arrival import SliceFacts

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64
_STAT = frozenset({"STAT", "HIGH"})
_LARGEST_COUNT = 10**9
_NO_CONTROLS = dict.fromkeys(range(32))

RawValues = dict[int, bytes]


def is_uid(text: str) -> bool:
    """Whether it is a UID that may name something (PS3.5 section 9.1; leading zeros occur and are let pass)."""
    return len(text) <= _UID_LENGTH and _UID.fullmatch(text) is not None


def uid(values: RawValues, tag: int, keyword: str) -> str:
    """Return a UID of the data set.

    Raises
    ------
    InstanceRefused
        0xC000: it is absent or no UID; the message holds no value.
    """
    text = _text(values, tag) or ""
    if not is_uid(text):
        raise InstanceRefused(f"the data set has no valid {keyword}", CANNOT_UNDERSTAND)
    return text


def patient_words(values: RawValues) -> tuple[str, str]:
    """Return what names the patient: Patient ID, and family and given name without case and padding.

    Middle names, prefixes and other spellings of the name are left out: consoles of one department differ there.
    """
    name = (_text(values, header.PATIENT_NAME) or "").split("=")[0].casefold()
    family_and_given = "^".join(" ".join(part.split()) for part in name.split("^")[:2]).strip("^")
    return _text(values, header.PATIENT_ID) or "", family_and_given


def slice_facts(values: RawValues, *, stat: bool) -> SliceFacts:
    """Return where the instance lies in its series; ``stat``: the sender asked for haste."""
    orientation = _numbers(values, header.IMAGE_ORIENTATION_PATIENT, 6)
    position = _numbers(values, header.IMAGE_POSITION_PATIENT, 3)
    priorities = (header.STUDY_PRIORITY_ID, header.REQUESTED_PROCEDURE_PRIORITY)
    return SliceFacts(
        instance_number=_integer(values, header.INSTANCE_NUMBER),
        acquisition_number=_integer(values, header.ACQUISITION_NUMBER),
        position_lps_mm=None if position is None else (position[0], position[1], position[2]),
        orientation_lps=None if orientation is None else (*orientation[:3], *orientation[3:6]),  # type: ignore[arg-type]
        frames=_integer(values, header.NUMBER_OF_FRAMES),
        expected_instances=_count(values, header.NUMBER_OF_SERIES_RELATED_INSTANCES),
        images_in_acquisition=_count(values, header.IMAGES_IN_ACQUISITION),
        image_type=_code_strings(values, header.IMAGE_TYPE),
        stat=stat or any((_text(values, tag) or "").upper() in _STAT for tag in priorities),
    )


def _text(values: RawValues, tag: int) -> str | None:
    raw = values.get(tag)
    if raw is None:
        return None
    text = raw.decode("latin-1").strip("\0 ")
    # Any bytes are read; a control character has no place in these values, and PostgreSQL takes no NUL.
    return text if text.isprintable() else text.translate(_NO_CONTROLS).strip()


def _code_strings(values: RawValues, tag: int) -> str | None:
    """Values that are code strings, each in its place: any other is free text, which has no place in our tables."""
    found = [part.strip() for part in (_text(values, tag) or "").split("\\")]
    kept = [part if is_code_string(part) else "" for part in found]
    return "\\".join(kept) if any(kept) else None


def _integer(values: RawValues, tag: int) -> int | None:
    text = _text(values, tag)
    try:
        number = int(text) if text else None
    except ValueError:
        return None
    return number if number is not None and abs(number) <= _LARGEST_COUNT else None


def _count(values: RawValues, tag: int) -> int | None:
    number = _integer(values, tag)
    return number if number is not None and number > 0 else None


def _numbers(values: RawValues, tag: int, count: int) -> tuple[float, ...] | None:
    text = _text(values, tag)
    try:
        numbers = tuple(float(part) for part in text.split("\\")) if text else ()
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
