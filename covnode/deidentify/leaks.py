"""The fail-closed check: reads a finished copy anew and refuses it if anything identifying is left.

Comes from the engine with every original and every copy of a series; lets a copy pass or raises. Reads with pydicom
and by searching bytes, not with the engine's own reader. Never names a value, only where it stands.

Two layers. Every element of the copy is judged by its value (`_finding`), at every depth; then the bytes outside
Pixel Data are searched for longer values, and each occurrence must lie in a value that was judged.

What is no leak though it may equal an original's value: our own constants, the closed terms of kept.csv ("CHEST" in
Body Part Examined), words of device_words.txt in texts about the device, numbers of an image's geometry and
acquisition (a whole number of six or more digits is compared), pseudonymous UIDs, and values under three characters.
"""

import os
import re
import struct
import zlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from covnode.deidentify.fragments import texts_beside_pixels
from covnode.deidentify.identifying import SHORTEST_FRAGMENT, Identifying, fold, words_of
from covnode.deidentify.originals import read_with_pydicom
from covnode.deidentify.profile import CLEAN_PIXELS, METHOD, METHOD_CODES, Action, Rule, registered_codes, rules
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
_UID_IN_BYTES = re.compile(rb"\d+(?:\.\d+){3,}")
_SHORTEST_DIGITS_IN_BYTES = 8
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_PIXEL_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"UN"})


class LeakCheck:
    """Knows the originals of one series, judges their copies."""

    def __init__(self) -> None:
        self._known = Identifying()
        self._passed: set[tuple[int, str, bytes]] = set()

    def learn(self, original: Path) -> None:
        """Take over what an original holds.

        Raises
        ------
        DeidentificationRefused
            ``unreadable_instance`` when pydicom cannot read it.
        """
        with read_with_pydicom("it is malformed"):
            dataset = dcmread(original, stop_before_pixels=True)
            self._known.learn(dataset.file_meta)
            self._known.learn(dataset)

    def verify(self, copy: Path) -> None:
        """Let a finished copy pass.

        Raises
        ------
        DeidentificationRefused
            ``identity_left`` when it holds an identifying value, or anything that the profile does not let stay.
        """
        with quietly(), copy.open("rb") as stream:
            try:
                dataset = dcmread(stream, stop_before_pixels=True)
                header, surplus = _split(stream, dataset)
            except MALFORMED as error:
                raise _left("the copy cannot be read") from error
            except OSError as error:
                if error.errno is not None:  # the disk's
                    raise
                raise _left("the copy cannot be read") from error
            judged: list[bytes] = []
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
        if not _META.issuperset(map(int, meta.keys())):
            raise _left("the file meta information holds an attribute that is not ours")
        for tag in list(meta.keys()):
            raw = meta.get_item(tag)
            value = raw.value if isinstance(raw, RawDataElement) else str(meta[tag].value).encode()
            self._judge_value(int(tag), dictionary_VR(tag), value or b"", judged)

    def _judge(self, dataset: Dataset, judged: list[bytes]) -> None:
        table = rules()
        for tag, raw in list(dataset.items()):  # as read, not yet converted
            rule = table.get(int(tag))
            if int(tag) not in _ADDED and (rule is None or rule.action is Action.REMOVE):
                raise _left(f"{_where(int(tag))} does not belong into a copy")
            vr = str(raw.VR) if raw.VR else dictionary_VR(tag)
            if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and vr != "SQ":
                self._judge_value(int(tag), vr, raw.value, judged)
            elif isinstance(raw, RawDataElement) and (int(tag), vr, raw.value or b"") in self._passed:
                judged.append(raw.value or b"")
            elif vr == "SQ":
                self._judge_sequence(dataset, tag, raw, judged)

    def _judge_sequence(
        self, dataset: Dataset, tag: BaseTag, raw: DataElement | RawDataElement, judged: list[bytes]
    ) -> None:
        try:
            items = list(dataset[tag].value or ())
        except (*MALFORMED, OSError) as error:  # read from memory: no disk is at fault
            raise _left(f"{_where(int(tag))} of the copy cannot be read") from error
        for item in items:
            self._judge(item, judged)
        if isinstance(raw, RawDataElement):
            self._passed.add((int(tag), "SQ", raw.value or b""))

    def _judge_value(self, tag: int, vr: str, value: bytes, judged: list[bytes]) -> None:
        if (tag, vr, value) not in self._passed:
            finding = self._finding(tag, vr, value)
            if finding:
                raise _left(f"{_where(tag)} holds {finding}")
            self._passed.add((tag, vr, value))
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
        needles = {text.encode() for text in known.words | known.phrases | known.descriptions if _is_long(text)}
        for needle in needles | {raw.lower() for raw in known.raw}:
            if needle in haystack and haystack.count(needle) > judged.count(needle):
                raise _left("bytes between the elements hold an identifying value")
        if any(uid.decode() in known.uids for uid in set(_UID_IN_BYTES.findall(haystack))):
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
    method = {fold(text) for code in (*METHOD_CODES, CLEAN_PIXELS) for text in code}
    return _CONSTANTS | method | {fold(text) for code in registered_codes().values() for text in code}


@cache
def _device_words() -> frozenset[str]:
    """Words of manufacturers, models and kernels: in a text about the device they name no person."""
    return frozenset(words_of((files(__package__) / "device_words.txt").read_text(encoding="utf-8")))


def _split(stream: BinaryIO, dataset: FileDataset) -> tuple[bytes, bytes]:
    """Bytes before Pixel Data, and bytes in or after Pixel Data that are no pixels (comments in compressed ones)."""
    position = stream.tell()
    stream.seek(0)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        content = stream.read()
        begin = 132 + 12 + int(dataset.file_meta.FileMetaInformationGroupLength)
        return content[:begin] + zlib.decompress(content[begin:], -zlib.MAX_WBITS), b""
    header, pixels = stream.read(position), stream.read(12)
    if not pixels:
        return header, b""
    implicit, little = dataset.original_encoding
    start = position + (8 if implicit or pixels[4:6] not in _LONG_PIXEL_VRS else 12)
    length = struct.unpack_from("<L" if little else ">L", pixels, start - position - 4)[0]
    if length == _UNDEFINED_LENGTH:
        stream.seek(-8, os.SEEK_END)
        complete = stream.read() == struct.pack("<HHL" if little else ">HHL", 0xFFFE, 0xE0DD, 0)
        if complete:
            return header, texts_beside_pixels(stream, start, "<" if little else ">")
        stream.seek(start)
        return header, stream.read()
    stream.seek(start + min(length, _pixel_bytes(dataset)))
    return header, stream.read()


def _pixel_bytes(dataset: Dataset) -> int:
    """Bytes that native pixels need (PS3.5 section 8.1.1); 0 when their attributes do not say."""
    try:
        pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
        return (pixels * int(dataset.BitsAllocated) * int(dataset.get("NumberOfFrames") or 1) + 7) // 8
    except (AttributeError, TypeError, ValueError):
        return 0
