"""The fail-closed check: reads a finished copy anew and refuses it if anything identifying is left.

Comes from the engine with every original and every copy of a series; lets a copy pass or raises. Reads with pydicom
and by searching bytes, not with the engine's own reader. Never names a value, only where it stands.

Two layers. Every element of the copy is judged by its value (`_finding`), at every depth; then the bytes outside
Pixel Data are searched for longer values, and each occurrence must lie in a value that was judged.

What is no leak though it may equal an original's value: our own constants, the closed terms of kept.csv ("CHEST" in
Body Part Examined), words of device_words.txt in texts about the device, numbers of an image's geometry and
acquisition (a whole number of six or more digits is compared), pseudonymous UIDs, and values under three characters.

Under the options of the profile: where one retains an attribute, its value may stand there and nowhere else, and even
there names and ids of persons, and the date of birth, must not; a description that may stay is judged anew.
"""

import os
import re
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.charset import decode_bytes, default_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import TEXT_VR_DELIMS

from covnode.deidentify.fragments import texts_beside_pixels
from covnode.deidentify.identifying import SHORTEST_FRAGMENT, Identifying
from covnode.deidentify.judging import Values
from covnode.deidentify.originals import read_with_pydicom
from covnode.deidentify.profile import RETAINED_CODE, Action, Profile, Rule
from covnode.deidentify.registered_codes import CODE_ELEMENTS, Codes, registered_codes
from covnode.deidentify.safe_private import creator_tag_of, is_creator, is_private
from covnode.deidentify.values import STRING_VRS
from covnode.dicom.reading import MALFORMED, quietly
from covnode.errors import DeidentificationRefused

_LAST_ADDED = (0x00120062, 0x00280303)
_META_VERSION, _MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020001, 0x00020003
_SOP_INSTANCE_UID = 0x00080018
_META = frozenset({0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013})
_ADDED = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x00080100, 0x00080102, 0x00080104})
_ADDED_BY_US = Rule(Action.KEEP)
_UID_IN_BYTES = re.compile(rb"\d+(?:\.\d+){3,}")
_SHORTEST_DIGITS_IN_BYTES = 8
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_PIXEL_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"UN"})


class LeakCheck:
    """Knows the originals of one series, judges their copies."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._known = Identifying(profile)
        self._values = Values(self._known)
        self._passed: set[tuple[int, str, bytes]] = set()
        self._character_set = ""

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

    def names_somebody(self, text: str) -> bool:
        """Whether a text holds a word of a name, or an id, of the originals."""
        return self._known.names_somebody(text)

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
            self._note_character_set(dataset)
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

    def _note_character_set(self, dataset: Dataset) -> None:
        """Judge again what passed in another character set."""
        character_set = str(dataset.get("SpecificCharacterSet", ""))
        if character_set != self._character_set:
            self._passed.clear()
        self._character_set = character_set

    def _judge_meta(self, meta: Dataset, judged: list[bytes]) -> None:
        if not _META.issuperset(map(int, meta.keys())):
            raise _left("the file meta information holds an attribute that is not ours")
        for tag in list(meta.keys()):
            raw = meta.get_item(tag)
            value = raw.value if isinstance(raw, RawDataElement) else str(meta[tag].value).encode()
            rule = self.profile.rules.get(_SOP_INSTANCE_UID if tag == _MEDIA_STORAGE_SOP_INSTANCE_UID else int(tag))
            self._judge_value(int(tag), dictionary_VR(tag), value or b"", rule or _ADDED_BY_US, judged)

    def _judge(self, dataset: Dataset, judged: list[bytes], holder: Rule = _ADDED_BY_US) -> None:
        for tag, raw in list(dataset.items()):  # as read, not yet converted
            rule, vr = self._rule_on(dataset, tag, raw, holder)
            if rule is None or rule.action is Action.REMOVE:
                raise _left(f"{_where(int(tag))} does not belong into a copy")
            if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and vr != "SQ":
                text = _decoded(dataset, raw.value) if rule.is_retained and not raw.value.isascii() else None
                self._judge_value(int(tag), vr, raw.value, rule, judged, text)
            elif isinstance(raw, RawDataElement) and (int(tag), vr, raw.value or b"") in self._passed:
                judged.append(raw.value or b"")
            elif vr == "SQ":
                self._judge_sequence(dataset, tag, raw, rule, judged)

    def _rule_on(
        self, dataset: Dataset, tag: BaseTag, raw: DataElement | RawDataElement, holder: Rule
    ) -> tuple[Rule | None, str]:
        """Rule on an element, and its VR; no rule: it has no place in a copy."""
        if tag.is_private:
            return self._private_rule(dataset, tag, str(raw.VR or ""))
        vr = str(raw.VR) if raw.VR else dictionary_VR(tag)
        if holder.codes is Codes.AS_SENT and int(tag) in CODE_ELEMENTS:
            return RETAINED_CODE, vr
        return self.profile.rules.get(int(tag), _ADDED_BY_US if int(tag) in _ADDED else None), vr

    def _private_rule(self, dataset: Dataset, tag: BaseTag, vr: str) -> tuple[Rule | None, str]:
        if is_creator(int(tag)):
            is_safe = self.profile.safe_private.names(str(dataset[tag].value), int(tag))
            return Rule(Action.KEEP, text=True) if is_safe else None, "LO"
        owner = dataset.get(creator_tag_of(int(tag)))
        safe = self.profile.private(None if owner is None else str(owner.value), int(tag))
        return (None, vr) if safe is None or vr not in {safe[1], ""} else safe

    def _judge_sequence(
        self, dataset: Dataset, tag: BaseTag, raw: DataElement | RawDataElement, rule: Rule, judged: list[bytes]
    ) -> None:
        try:
            items = list(_sequence(dataset, tag, raw).value or ())
        except (*MALFORMED, OSError) as error:  # read from memory: no disk is at fault
            raise _left(f"{_where(int(tag))} of the copy cannot be read") from error
        for item in items:
            if rule.codes in {Codes.STANDARD, Codes.STANDARD_AND_PATIENT}:
                judged += _registered(item, rule.codes, _where(int(tag)))
            else:
                self._judge(item, judged, rule)
        if isinstance(raw, RawDataElement) and not tag.is_private:
            self._passed.add((int(tag), "SQ", raw.value or b""))

    def _judge_value(
        self, tag: int, vr: str, value: bytes, rule: Rule, judged: list[bytes], text: str | None = None
    ) -> None:
        if (tag, vr, value) not in self._passed:
            finding = None if tag == _META_VERSION else self._values.finding(tag, vr, value, rule, text)
            if finding:
                raise _left(f"{_where(tag)} holds {finding}")
            if rule is not RETAINED_CODE and not is_private(tag):  # both depend on what holds them
                self._passed.add((tag, vr, value))
        if vr in STRING_VRS:
            judged.append(value)

    def _search(self, haystack: bytes, judged: bytes) -> None:
        """Refuse when bytes hold an identifying value more often than the values that were judged do."""
        known = self._known
        needles = {text.encode() for text in known.words | known.phrases | known.descriptions if _is_long(text)}
        for needle in needles | {raw.lower() for raw in known.raw}:
            if needle in haystack and haystack.count(needle) > judged.count(needle):
                raise _left("bytes between the elements hold an identifying value")
        found = Counter(uid for uid in _UID_IN_BYTES.findall(haystack) if uid.decode() in known.uids)
        if found and found - Counter(_UID_IN_BYTES.findall(judged)):
            raise _left("a UID of the original is left")


def _left(reason: str) -> DeidentificationRefused:
    return DeidentificationRefused(f"the check of the de-identified copy failed: {reason}", "identity_left")


def _where(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _is_long(text: str) -> bool:
    """Long enough not to occur among arbitrary bytes by chance."""
    return len(text) >= (_SHORTEST_DIGITS_IN_BYTES if text.isdigit() else SHORTEST_FRAGMENT)


def _sequence(dataset: Dataset, tag: BaseTag, raw: DataElement | RawDataElement) -> DataElement:
    """Element as a sequence: pydicom takes a private one in implicit VR for bytes."""
    if tag.is_private and isinstance(raw, RawDataElement):
        return convert_raw_data_element(raw._replace(VR="SQ"), encoding=dataset.original_character_set, ds=dataset)
    return dataset[tag]


def _decoded(dataset: Dataset, value: bytes) -> str | None:
    """Text of a value in the character set of its data set; none for one that no character set was stated for."""
    stated = dataset.original_character_set
    encodings = [stated] if isinstance(stated, str) else list(stated)
    return None if set(encodings) <= {default_encoding} else decode_bytes(value, encodings, TEXT_VR_DELIMS)


def _registered(item: Dataset, which: Codes, where: str) -> list[bytes]:
    """Return what an item says if it is a registered code, with the registered meaning, and nothing else."""
    sent = tuple(str(item[tag].value) if tag in item else "" for tag in CODE_ELEMENTS)
    if len(item) != len(sent) or registered_codes(which).get((sent[0], sent[1])) != sent:
        raise _left(f"{where} holds a code that is not registered")
    return [text.encode() for text in sent]


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
