"""Reads single values out of a data set so that an absent, empty or malformed one is simply None.

Comes from covnode.dicom.reading; goes to volume. Call it inside `quietly`: pydicom converts a value when it is asked
for. Never raises on a bad value: whoever needs the value states what is missing.
"""

import math
import re

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from covnode.dicom.reading import MALFORMED

_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")


def is_code_string(text: str) -> bool:
    """Whether it is a code string (VR CS, PS3.5 section 6.2); anything else may be free text, and hold an identity."""
    return _CODE_STRING.fullmatch(text) is not None


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an element as stripped text; () where there is none."""
    try:
        value = dataset.get(keyword)
        values = tuple(value) if isinstance(value, (MultiValue, list, tuple)) else (value,)
    except MALFORMED:
        return ()
    return tuple(str(item).strip() for item in values if item is not None and item != "")


def text(dataset: Dataset, keyword: str) -> str | None:
    """First value of an element as text."""
    values = texts(dataset, keyword)
    return values[0] if values and values[0] else None


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None."""
    try:
        values = tuple(float(item) for item in texts(dataset, keyword))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number, or None."""
    values = numbers(dataset, keyword, 1)
    return values[0] if values else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """One whole number, or None."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value.is_integer() else None


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Items of a sequence; () where there is none."""
    try:
        value = dataset.get(keyword)
        return tuple(item for item in value if isinstance(item, Dataset)) if value else ()
    except MALFORMED:
        return ()
