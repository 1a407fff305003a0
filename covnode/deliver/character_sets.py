"""States a character set that can write every text of an object (PS3.3 C.12.1.1.2).

Comes from restore, with decoded texts; goes back with Specific Character Set set at the root and nowhere else.
"""

from collections.abc import Iterator

from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

UTF_8 = "ISO_IR 192"
_DEFAULT_REPERTOIRE = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_LATIN_1 = frozenset({"ISO_IR 100", "ISO 2022 IR 100"})
_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def declare_character_set(dataset: Dataset, preferred: list[str]) -> None:
    """Set Specific Character Set to the preferred one if it can write every text, else to UTF-8.

    Parameters
    ----------
    dataset
        Decoded (`Dataset.decode`) at every depth.
    preferred
        Values of Specific Character Set; none means the default repertoire (ASCII).
    """
    texts = set(_texts(dataset))
    for item in _items(dataset):
        if "SpecificCharacterSet" in item:
            del item.SpecificCharacterSet
    character_set = preferred if _can_write(texts, preferred) else [UTF_8]
    if character_set:
        dataset.SpecificCharacterSet = character_set if len(character_set) > 1 else character_set[0]
    elif "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet


def _items(dataset: Dataset) -> Iterator[Dataset]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or ():
                yield item
                yield from _items(item)


def _texts(dataset: Dataset) -> Iterator[str]:
    for part in (dataset, *_items(dataset)):
        for element in part:
            if element.VR in _TEXT_VRS and element.value:
                values = element.value if isinstance(element.value, (MultiValue, list, tuple)) else [element.value]
                for value in values:
                    yield from str(value).split("=") if isinstance(value, PersonName) else [str(value)]


def _can_write(texts: set[str], character_set: list[str]) -> bool:
    if all(text.isascii() for text in texts):
        return all(term in python_encoding for term in character_set)
    if not character_set or any(term not in python_encoding for term in character_set):
        return False
    default = character_set[0] in _DEFAULT_REPERTOIRE and not _LATIN_1.intersection(character_set)
    if default and any("\x80" <= character <= "\xff" for text in texts for character in text):
        return False  # pydicom writes the default repertoire as Latin-1, the standard means ASCII
    encodings = convert_encodings(character_set)
    return all(decode_bytes(encode_string(text, encodings), encodings, set(TEXT_VR_DELIMS)) == text for text in texts)
