"""The fail-closed check: reads a finished copy anew and refuses it if anything identifying is left.

Comes from the engine with every original and every copy of a series; lets a copy pass or raises. Reads with pydicom
and by searching bytes, not with the engine's own reader. Never names a value, only where it stands.

Two layers. Every element of the copy is judged by its value (`_finding`), at every depth; then the bytes outside
Pixel Data are searched for longer values, and each occurrence must lie in a value that was judged.

What is no leak though it may equal an original's value: our own constants, the closed terms of kept.csv ("CHEST" in
Body Part Examined), words of device_words.txt in texts about the device, numbers of an image's geometry and
acquisition (a whole number of six or more digits is compared), pseudonymous UIDs, and values under three characters.
"""

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from covnode.deidentify.fragments import outside_pixels
from covnode.deidentify.identifying import SHORTEST_FRAGMENT, Identifying, fold, words_of
from covnode.deidentify.originals import read_with_pydicom
from covnode.deidentify.profile import METHOD, METHOD_CODES, Action, Rule, registered_codes, rules
from covnode.deidentify.remembered import Remembered, is_short
from covnode.deidentify.values import BINARY_BYTES, DUMMY_TEXT, STRING_VRS, is_registered, is_uid
from covnode.dicom.reading import MALFORMED, quietly
from covnode.errors import DeidentificationRefused

_LAST_ADDED = (0x00120062, 0x00280303)
_META_VERSION = 0x00020001
_STUDY_DATE = 0x00080020
_META = frozenset({0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013})
_ADDED = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x00080100, 0x00080102, 0x00080104})
_CONSTANTS = frozenset({"yes", "modified", "dcm", "covnode", fold(METHOD), fold(DUMMY_TEXT.decode())})
_WHOLE_NUMBER = re.compile(r"[-+]?(\d{6,})(?:\.0*)?")
_FIGURES_IN_BYTES = re.compile(rb"[\d.]{7,}")  # a UID as we look for it, 1.2.3.4 at least, lies in such a run
_FEWEST_DOTS = 3
_UID_IN_FIGURES = re.compile(rb"\d+(?:\.\d+){3,}")
_SHORTEST_DIGITS_IN_BYTES = 8


class LeakCheck:
    """Knows the originals of one series, judges their copies."""

    def __init__(self) -> None:
        self._known = Identifying()
        self._needles: frozenset[bytes] | None = None
        self._passed: Remembered[tuple[object, ...], None] = Remembered()

    def learn(self, original: Path) -> None:
        """Take over what an original holds.

        Raises
        ------
        DeidentificationRefused
            ``unreadable_instance`` when pydicom cannot read it.
        """
        self._needles = None
        self._passed.clear()  # who knows more may judge otherwise
        with read_with_pydicom("it is malformed"), _mapped(original) as content:
            dataset = dcmread(cast("BinaryIO", content), stop_before_pixels=True)
            self._known.learn(dataset.file_meta)
            self._known.learn(dataset)

    def verify(self, copy: Path) -> None:
        """Let a finished copy pass.

        Raises
        ------
        DeidentificationRefused
            ``identity_left`` when it holds an identifying value, or anything that the profile does not let stay.
        """
        judged: list[bytes] = []
        with quietly():
            try:
                with _mapped(copy) as content:
                    dataset = dcmread(cast("BinaryIO", content), stop_before_pixels=True)
                    header, surplus = outside_pixels(content, dataset)
            except MALFORMED as error:
                raise _left("the copy cannot be read") from error
            except OSError as error:
                if error.errno is not None:  # the disk's
                    raise
                raise _left("the copy cannot be read") from error
            self._judge_meta(dataset.file_meta, judged)
            self._judge(dataset, judged)
        if any(tag not in dataset for tag in _LAST_ADDED):
            raise _left("the copy is not complete")
        if any(header[:128]):
            raise _left("the preamble is not empty")
        self._search(header.lower(), b"\0".join(judged).lower())
        if surplus:
            self._search(surplus.lower(), b"")

    def _judge_meta(self, meta: Dataset, judged: list[bytes]) -> None:
        for tag, raw in list(meta.items()):
            if tag not in _META:
                raise _left("the file meta information holds an attribute that is not ours")
            self._judge_value(int(tag), dictionary_VR(tag), _sent(raw), judged)

    def _judge(self, dataset: Dataset, judged: list[bytes]) -> None:
        table = rules()
        for tag, raw in list(dataset.items()):  # as read, not yet converted
            number = int(tag)
            rule = table.get(number)
            if (rule is None or rule.action is Action.REMOVE) and number not in _ADDED:
                raise _left(f"{_where(number)} does not belong into a copy")
            vr = str(raw.VR) if raw.VR else dictionary_VR(tag)
            if vr == "SQ":
                self._judge_sequence(dataset, raw, judged)
            else:
                self._judge_value(number, vr, _sent(raw), judged)

    def _judge_sequence(self, dataset: Dataset, raw: DataElement | RawDataElement, judged: list[bytes]) -> None:
        """Judge the items, unless the same bytes have passed: in the same encoding, since that says what they mean."""
        sent = (int(raw.tag), raw.value, dataset.original_encoding) if isinstance(raw, RawDataElement) else None
        if sent in self._passed:
            judged.append(raw.value or b"")
            return
        try:
            items = list(dataset[raw.tag].value or ())
        except (*MALFORMED, OSError) as error:  # read from memory: no disk is at fault
            raise _left(f"{_where(int(raw.tag))} of the copy cannot be read") from error
        for item in items:
            self._judge(item, judged)
        if sent and is_short(len(raw.value or b"")):
            self._passed[sent] = None

    def _judge_value(self, tag: int, vr: str, value: bytes, judged: list[bytes]) -> None:
        """Judge a value, unless the same has passed; where it stands in the copy makes no difference."""
        if (tag, vr, value) not in self._passed:
            finding = self._finding(tag, vr, value)
            if finding:
                raise _left(f"{_where(tag)} holds {finding}")
            if is_short(len(value)):
                self._passed[(tag, vr, value)] = None
        if vr in STRING_VRS:
            judged.append(value)

    def _finding(self, tag: int, vr: str, value: bytes) -> str | None:
        """Name what a value holds but must not."""
        if vr in BINARY_BYTES or vr in {"US or SS", "AS"} or tag == _META_VERSION:
            return None
        if vr not in STRING_VRS:
            return self._in_blob(value.lower())
        if not value.isascii():
            return "text outside ASCII"
        rule = rules().get(tag, Rule(Action.KEEP))
        for part in value.decode("ascii").split("\\"):
            finding = self._in_part(tag, vr, part.strip(" \0"), rule)
            if finding:
                return finding
        return None

    def _in_part(self, tag: int, vr: str, part: str, rule: Rule) -> str | None:
        if vr == "UI":
            return "a UID that is not ours" if self._is_foreign_uid(part) else None
        if vr in {"DS", "IS"} or rule.digits:
            number = _WHOLE_NUMBER.fullmatch(part)
            return "an identifying number" if number and number[1] in self._known.phrases else None
        if vr in {"DA", "DT", "TM"}:
            return "a date that was not moved" if tag == _STUDY_DATE and part in self._known.study_dates else None
        return self._in_text(fold(part), rule)

    def _is_foreign_uid(self, uid: str) -> bool:
        ours = uid.startswith("2.25.") and is_uid(uid)
        return bool(uid) and not is_registered(uid) and (not ours or uid in self._known.uids)

    def _in_text(self, text: str, rule: Rule) -> str | None:
        known = self._known
        if not text or text in _constants() or text.upper().encode() in rule.terms:
            return None
        words = set(words_of(text))
        if rule.text and words & _device_words():
            words -= _device_words() | {word for word in words if word.isdigit() and len(word) < SHORTEST_FRAGMENT}
            if not words:
                return None
        if words & known.words or _holds(text, known.words - _device_words()):
            return "a word of a name"
        if text in known.phrases or _holds(text, known.phrases - _device_words()):
            return "an identifying value"
        if not rule.text and (text in known.descriptions or _holds(text, known.descriptions)):
            return "a description"
        return None

    def _in_blob(self, value: bytes) -> str | None:
        known = self._known
        texts = known.words | known.phrases | known.descriptions | known.uids
        found = any(text.encode() in value for text in texts) or any(raw.lower() in value for raw in known.raw)
        return "an identifying value" if found else None

    def _search(self, haystack: bytes, judged: bytes) -> None:
        """Refuse when bytes hold an identifying value more often than the values that were judged do."""
        known = self._known
        if self._needles is None:
            long = {text.encode() for text in known.words | known.phrases | known.descriptions if _is_long(text)}
            self._needles = frozenset(long | {raw.lower() for raw in known.raw})
        for needle in self._needles:
            if needle in haystack and haystack.count(needle) > judged.count(needle):
                raise _left("bytes between the elements hold an identifying value")
        figures = {run for run in _FIGURES_IN_BYTES.findall(haystack) if run.count(b".") >= _FEWEST_DOTS}
        if any(uid.decode() in known.uids for run in figures for uid in _UID_IN_FIGURES.findall(run)):
            raise _left("a UID of the original is left")


def _left(reason: str) -> DeidentificationRefused:
    return DeidentificationRefused(f"the check of the de-identified copy failed: {reason}", "identity_left")


def _where(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _holds(text: str, fragments: set[str]) -> bool:
    return any(fragment in text for fragment in fragments if len(fragment) >= SHORTEST_FRAGMENT)


def _is_long(text: str) -> bool:
    """Long enough not to occur among arbitrary bytes by chance."""
    return len(text) >= (_SHORTEST_DIGITS_IN_BYTES if text.isdigit() else SHORTEST_FRAGMENT)


@cache
def _constants() -> frozenset[str]:
    method = {fold(text) for code in METHOD_CODES for text in code}
    return _CONSTANTS | method | {fold(text) for code in registered_codes().values() for text in code}


@cache
def _device_words() -> frozenset[str]:
    """Words of manufacturers, models and kernels: in a text about the device they name no person."""
    return frozenset(words_of((files(__package__) / "device_words.txt").read_text(encoding="utf-8")))


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """Map a file into memory: pydicom reads it as it reads a file, in half the time."""
    with path.open("rb", buffering=0) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _sent(element: DataElement | RawDataElement) -> bytes:
    return (element.value if isinstance(element, RawDataElement) else str(element.value).encode()) or b""
