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

import re
from collections import Counter
from pathlib import Path

from pydicom.charset import decode_bytes, default_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import TEXT_VR_DELIMS

from covnode.deidentify.fragments import beside_pixels
from covnode.deidentify.identifying import SHORTEST_FRAGMENT, Identifying
from covnode.deidentify.judging import Values
from covnode.deidentify.originals import read_with_pydicom
from covnode.deidentify.profile import RETAINED_CODE, Action, Profile, Rule
from covnode.deidentify.registered_codes import CODE_ELEMENTS, Codes, registered_codes
from covnode.deidentify.remembered import Remembered, is_short
from covnode.deidentify.safe_private import creator_tag_of, is_creator, is_private
from covnode.deidentify.unconverted import mapped, read_unconverted
from covnode.deidentify.values import STRING_VRS
from covnode.dicom.reading import MALFORMED, quietly
from covnode.errors import DeidentificationRefused

_LAST_ADDED = (0x00120062, 0x00280303)
_META_VERSION, _MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020001, 0x00020003
_SOP_INSTANCE_UID = 0x00080018
_META = frozenset({0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013})
_ADDED = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x00080100, 0x00080102, 0x00080104})
_ADDED_BY_US = Rule(Action.KEEP)
_FIGURES_IN_BYTES = re.compile(rb"[\d.]{7,}")  # a UID as we look for it, 1.2.3.4 at least, lies in such a run
_FEWEST_DOTS = 3
_UID_IN_FIGURES = re.compile(rb"\d+(?:\.\d+){3,}")
_SHORTEST_DIGITS_IN_BYTES = 8


class LeakCheck:
    """Knows the originals of one series, judges their copies."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._known = Identifying(profile)
        self._values = Values(self._known)
        self._needles: frozenset[bytes] | None = None
        self._passed: Remembered[tuple[object, ...], list[bytes]] = Remembered()

    def learn(self, original: Path) -> None:
        """Take over what an original holds.

        Raises
        ------
        DeidentificationRefused
            ``unreadable_instance`` when pydicom cannot read it.
        """
        self._needles = None
        self._passed.clear()  # who knows more may judge otherwise
        with read_with_pydicom("it is malformed"), mapped(original) as content:
            header = read_unconverted(content)
            self._known.learn(header.meta)
            self._known.learn(header.dataset)

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
        with quietly():
            try:
                with mapped(copy) as content:
                    header = read_unconverted(content)
                    surplus = beside_pixels(content, header)
            except MALFORMED as error:
                raise _left("the copy cannot be read") from error
            except OSError as error:
                if error.errno is not None:  # the disk's
                    raise
                raise _left("the copy cannot be read") from error
            judged = self._judge_meta(header.meta) + self._judge(header.dataset)
        if any(tag not in header.dataset for tag in _LAST_ADDED):
            raise _left("the copy is not complete")
        if any(header.before_pixels[:128]):
            raise _left("the preamble is not empty")
        self._search(header.before_pixels.lower(), b"\0".join(judged).lower())
        if surplus:
            self._search(surplus.lower(), b"")

    def _judge_meta(self, meta: Dataset) -> list[bytes]:
        judged = []
        for tag, raw in list(meta.items()):
            if tag not in _META:
                raise _left("the file meta information holds an attribute that is not ours")
            rule = self.profile.rules.get(_SOP_INSTANCE_UID if tag == _MEDIA_STORAGE_SOP_INSTANCE_UID else int(tag))
            judged += self._judge_value(int(tag), dictionary_VR(tag), _sent(raw), rule or _ADDED_BY_US)
        return judged

    def _judge(self, dataset: Dataset, holder: Rule = _ADDED_BY_US) -> list[bytes]:
        """Judge every element, unless the same bytes have passed where they mean the same: encoding and characters.

        Returns the texts that were judged.
        """
        judged = []
        context = (dataset.original_encoding, str(dataset.original_character_set))
        for tag, raw in list(dataset.items()):  # as read, not yet converted
            sent = (int(tag), raw.VR, raw.value, context) if isinstance(raw, RawDataElement) else None
            passed = self._passed.get(sent) if sent else None
            if passed is None:
                passed = self._judge_element(dataset, int(tag), raw, holder)
                depends_on_others = is_private(int(tag)) or holder.codes is Codes.AS_SENT
                if sent and is_short(len(raw.value or b"")) and not depends_on_others:
                    self._passed[sent] = passed
            judged += passed
        return judged

    def _judge_element(
        self, dataset: Dataset, tag: int, raw: DataElement | RawDataElement, holder: Rule
    ) -> list[bytes]:
        rule, vr = self._rule_on(dataset, tag, raw, holder)
        if rule is None or rule.action is Action.REMOVE:
            raise _left(f"{_where(tag)} does not belong into a copy")
        if vr == "SQ":
            return self._judge_sequence(dataset, raw, rule)
        value = _sent(raw)
        text = _decoded(dataset, value) if rule.is_retained and not value.isascii() else None
        return self._judge_value(tag, vr, value, rule, text)

    def _rule_on(
        self, dataset: Dataset, tag: int, raw: DataElement | RawDataElement, holder: Rule
    ) -> tuple[Rule | None, str]:
        """Rule on an element, and its VR; no rule: it has no place in a copy."""
        if is_private(tag):
            return self._private_rule(dataset, tag, str(raw.VR or ""))
        vr = str(raw.VR) if raw.VR else dictionary_VR(tag)
        if holder.codes is Codes.AS_SENT and tag in CODE_ELEMENTS:
            return RETAINED_CODE, vr
        rule = self.profile.rules.get(tag)
        return rule or (_ADDED_BY_US if tag in _ADDED else None), vr

    def _private_rule(self, dataset: Dataset, tag: int, vr: str) -> tuple[Rule | None, str]:
        if is_creator(tag):
            is_safe = self.profile.safe_private.names(str(dataset[tag].value), tag)
            return Rule(Action.KEEP, text=True) if is_safe else None, "LO"
        owner = dataset.get(creator_tag_of(tag))
        safe = self.profile.private(None if owner is None else str(owner.value), tag)
        return (None, vr) if safe is None or vr not in {safe[1], ""} else safe

    def _judge_sequence(self, dataset: Dataset, raw: DataElement | RawDataElement, rule: Rule) -> list[bytes]:
        try:
            items = list(_sequence(dataset, raw.tag, raw).value or ())
        except (*MALFORMED, OSError) as error:  # read from memory: no disk is at fault
            raise _left(f"{_where(int(raw.tag))} of the copy cannot be read") from error
        judged = []
        for item in items:
            if rule.codes in {Codes.STANDARD, Codes.STANDARD_AND_PATIENT}:
                judged += _registered(item, rule.codes, _where(int(raw.tag)))
            else:
                judged += self._judge(item, rule)
        return judged

    def _judge_value(self, tag: int, vr: str, value: bytes, rule: Rule, text: str | None = None) -> list[bytes]:
        finding = None if tag == _META_VERSION else self._values.finding(tag, vr, value, rule, text)
        if finding:
            raise _left(f"{_where(tag)} holds {finding}")
        return [value] if vr in STRING_VRS else []

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
        left = {uid for run in figures for uid in _UID_IN_FIGURES.findall(run) if uid.decode() in known.uids}
        if any(_uids_in(haystack)[uid] > _uids_in(judged)[uid] for uid in left):
            raise _left("a UID of the original is left")


def _left(reason: str) -> DeidentificationRefused:
    return DeidentificationRefused(f"the check of the de-identified copy failed: {reason}", "identity_left")


def _where(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _is_long(text: str) -> bool:
    """Long enough not to occur among arbitrary bytes by chance."""
    return len(text) >= (_SHORTEST_DIGITS_IN_BYTES if text.isdigit() else SHORTEST_FRAGMENT)


def _uids_in(content: bytes) -> Counter[bytes]:
    return Counter(_UID_IN_FIGURES.findall(content))


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


def _sent(element: DataElement | RawDataElement) -> bytes:
    if isinstance(element, RawDataElement):
        return element.value or b""
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    return "\\".join(map(str, values)).encode() if element.value else b""
