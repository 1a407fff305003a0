"""Judges one value of a copy: what it holds of the originals, or else must not hold.

Comes from the leak check, value by value; goes back as words for a person, which quote nothing. Knows nothing of files
and sequences.
"""

import re
from functools import cache
from importlib.resources import files

from covnode.deidentify.descriptions import is_clean
from covnode.deidentify.identifying import SHORTEST_FRAGMENT, Identifying, fold, words_of
from covnode.deidentify.options import CLEAN_PIXELS, METHOD
from covnode.deidentify.profile import Profile, Rule
from covnode.deidentify.registered_codes import Codes, registered_codes
from covnode.deidentify.values import BINARY_BYTES, DUMMY_TEXT, STRING_VRS, is_registered, is_uid

_STUDY_DATE = 0x00080020
_CONSTANTS = frozenset({"yes", "dcm", "covnode", fold(METHOD), fold(DUMMY_TEXT.decode())})
_WHOLE_NUMBER = re.compile(r"[-+]?(\d{6,})(?:\.0*)?")
_SHORTEST_NUMBER = 6
_UNDECODABLE = "\ufffd"


class Values:
    """Compares values with what is known of the originals."""

    def __init__(self, known: Identifying) -> None:
        self.known = known
        self._constants = _constants(known.profile)

    def finding(self, tag: int, vr: str, value: bytes, rule: Rule, text: str | None) -> str | None:
        """Name what a value holds but must not; ``text``: decoded, where it may be other than ASCII."""
        if vr in BINARY_BYTES or vr in {"US or SS", "AS"}:
            return None
        if vr not in STRING_VRS:
            return self._in_blob(value.lower())
        if not value.isascii() and (text is None or _UNDECODABLE in text):
            return "text outside ASCII" if text is None else "text that its character set does not have"
        if any(raw in value for raw in self.known.own_raw):
            return "a word of a name"
        for part in (text or value.decode("ascii")).split("\\"):
            finding = self._in_part(tag, vr, part.strip(" \0"), rule)
            if finding:
                return finding
        return None

    def _in_part(self, tag: int, vr: str, part: str, rule: Rule) -> str | None:
        if vr == "UI":
            return self._in_uid(part, rule)
        if vr in {"DS", "IS"} or rule.digits:
            number = _WHOLE_NUMBER.fullmatch(part)
            return "an identifying number" if number and number[1] in self.known.phrases else None
        if vr in {"DA", "DT", "TM"}:
            if rule.is_retained:
                return "the date of a birth" if part[:8] in self.known.birth_dates else None
            return "a date that was not moved" if tag == _STUDY_DATE and part in self.known.study_dates else None
        return self._in_text(fold(part), rule)

    def _in_uid(self, uid: str, rule: Rule) -> str | None:
        if not uid or is_registered(uid):
            return None
        if rule.is_retained and is_uid(uid):
            numbers = {number for number in uid.split(".") if len(number) >= _SHORTEST_NUMBER}
            return "an identifying number" if numbers & self.known.own_phrases else None
        ours = uid.startswith("2.25.") and is_uid(uid) and uid not in self.known.uids
        return None if ours else "a UID that is not ours"

    def _in_text(self, text: str, rule: Rule) -> str | None:
        if not text or text in self._constants or text.upper().encode() in rule.terms:
            return None
        words = set(words_of(text))
        if rule.text and words & _device_words():
            words -= _device_words() | {word for word in words if word.isdigit() and len(word) < SHORTEST_FRAGMENT}
            if not words:
                return None
        if rule.is_retained:
            return self._of_a_person(text, words)
        if rule.otherwise is not None:
            return self._of_anybody(text, words) or (None if is_clean(text) else "a description that is not clean")
        return self._of_anybody(text, words) or (None if rule.text else self._described(text))

    def _of_anybody(self, text: str, words: set[str]) -> str | None:
        known = self.known
        if words & known.words or _holds(text, known.words - _device_words()):
            return "a word of a name"
        if text in known.phrases or _holds(text, known.phrases - _device_words()):
            return "an identifying value"
        return None

    def _described(self, text: str) -> str | None:
        known = self.known
        return "a description" if text in known.descriptions or _holds(text, known.descriptions) else None

    def _of_a_person(self, text: str, words: set[str]) -> str | None:
        """Name what of a person a text holds that an option retains."""
        known = self.known
        if words & known.own_words or _holds(text, known.own_words - _device_words()):
            return "a word of a name"
        if text in known.own_phrases or _holds(text, known.own_phrases - _device_words()):
            return "an identifying value"
        return None

    def _in_blob(self, value: bytes) -> str | None:
        known = self.known
        texts = known.words | known.phrases | known.descriptions | known.uids
        found = any(text.encode() in value for text in texts) or any(raw.lower() in value for raw in known.raw)
        return "an identifying value" if found else None


def _constants(profile: Profile) -> frozenset[str]:
    codes = (*profile.method_codes, CLEAN_PIXELS)
    ours = {fold(text) for code in codes for text in code} | {fold(profile.longitudinal_information)}
    return _CONSTANTS | ours | {fold(text) for code in registered_codes(Codes.REGIONS).values() for text in code}


def _holds(text: str, fragments: set[str]) -> bool:
    return any(fragment in text for fragment in fragments if len(fragment) >= SHORTEST_FRAGMENT)


@cache
def _device_words() -> frozenset[str]:
    """Words of manufacturers, models and kernels: in a text about the device they name no person."""
    return frozenset(words_of((files(__package__) / "device_words.txt").read_text(encoding="utf-8")))
