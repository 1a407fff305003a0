"""Foretells what the profile does to each attribute of a file, at every depth, without doing it.

Comes from a Part 10 file; goes to the command line as tags, actions and the clauses they stand in. Never copies a
value, writes nothing, and decides by the same rules as the cleaning.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.datadict import keyword_for_tag

from covnode.deidentify.cleaning import vr_in_force
from covnode.deidentify.elements import (
    EXPLICIT_LITTLE,
    PIXEL_DATA,
    Buffer,
    Element,
    Encoding,
    Part10,
    UnreadableError,
    elements,
    inner_encoding,
    items,
    open_part10,
    pixel_data_stop,
    vr_of,
)
from covnode.deidentify.options import METHODS, Option
from covnode.deidentify.profile import Action, Profile, node_profile
from covnode.deidentify.registered_codes import CODE_ELEMENTS
from covnode.deidentify.safe_private import Blocks, is_private

_ITEM_TAG = b"\xfe\xff\x00\xe0"
_MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020003
_META_AS_SENT = frozenset({0x00020002, 0x00020010})  # the SOP class and the transfer syntax
_META_REPLACED = frozenset({0x00020000, 0x00020001, 0x00020012, 0x00020013})
_WRITTEN_ANEW = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})

_BASIC = "PS3.15 Table E.1-1, Basic Profile"
_META = "PS3.10 section 7.1: file meta information written anew"
_SAYS_DEIDENTIFIED = "PS3.15 E.1.1: says that the copy is de-identified, written anew"
_NOT_LISTED = "PS3.15 E.1.1 / not listed: removed"
_PRIVATE = f"{_BASIC}, private attributes: removed"
_PIXELS = "Pixel Data as sent, unless text is found in them (PS3.15 E.3.1): see frames_looked_at of the series"
_AFTER_PIXELS = "after Pixel Data: removed"
_SAFE_PRIVATE = f"PS3.15 E.3.10, {METHODS[Option.SAFE_PRIVATE][1]}: on the site's list"
_WITH_ITS_SEQUENCE = "removed with the sequence that holds it"
_CONTRADICTS = "VR of the file contradicts the standard's: removed"
_NO_PART_OF_A_CODE = "no part of a registered code: removed"


@dataclass(frozen=True, slots=True, order=True)
class Attribute:
    """One attribute of an input and what becomes of it; no value.

    Attributes
    ----------
    tags
        From the root of the data set down to the attribute.
    vr
        As the file states it; in implicit VR the standard's, UN where it has none.
    source
        The clause or list that the action stands in.
    """

    tags: tuple[int, ...]
    vr: str
    action: Action
    source: str

    @property
    def path(self) -> str:
        """Tags with ``>`` for each step into an item."""
        return ">".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in self.tags)

    @property
    def keyword(self) -> str:
        """Of the standard's dictionary; empty for any other attribute."""
        return keyword_for_tag(self.tags[-1])


@dataclass(frozen=True, slots=True)
class _Holder:
    """What holds the elements that are looked at: the root, or an item.

    Attributes
    ----------
    is_gone
        Nothing in it stays.
    is_code
        Only what makes a registered code stays.
    """

    tags: tuple[int, ...] = ()
    is_gone: bool = False
    is_code: bool = False


@dataclass
class _Walk:
    profile: Profile
    data: Buffer
    found: set[Attribute] = field(default_factory=set)

    def walk(self, some: Iterable[Element], encoding: Encoding, holder: _Holder) -> None:
        blocks = Blocks()
        for element in some:
            if element.tag >> 16 == 0xFFFE:  # a delimiter, no attribute
                continue
            blocks.note(element, self.data)
            action, source = self._decision(element, holder, blocks)
            tags = (*holder.tags, element.tag)
            self.found.add(Attribute(tags, _vr_shown(element), action, source))
            if self._holds_items(element):
                self._walk_items(element, encoding, self._inside(element, action, tags))

    def _walk_items(self, sequence: Element, encoding: Encoding, holder: _Holder) -> None:
        inner = inner_encoding(sequence, encoding)
        inside = _Walk(self.profile, self.data)
        try:
            for start, stop in items(self.data, sequence, inner):
                inside.walk(elements(self.data, start, stop, inner), inner, holder)
        except UnreadableError:
            if not holder.is_gone:  # what does not stay need not be readable, and may be no sequence at all
                raise
        else:
            self.found |= inside.found

    def _holds_items(self, element: Element) -> bool:
        """Whether it is a sequence, or of unknown VR and looks like one (PS3.5 section 6.2.2)."""
        vr = element.vr or vr_of(element.tag)
        if vr == "SQ":
            return True
        if vr not in {"", "UN"}:
            return False
        return element.undefined or self.data[element.start : element.start + 4] == _ITEM_TAG

    def _decision(self, element: Element, holder: _Holder, blocks: Blocks) -> tuple[Action, str]:
        tag = element.tag
        if holder.is_gone:
            return Action.REMOVE, _WITH_ITS_SEQUENCE
        if is_private(tag):
            return self._on_private(element, blocks)
        clauses = self.profile.clauses
        if holder.is_code:
            is_part = tag in CODE_ELEMENTS
            return (Action.KEEP, clauses[holder.tags[-1]]) if is_part else (Action.REMOVE, _NO_PART_OF_A_CODE)
        if not holder.tags and tag in _WRITTEN_ANEW:
            return Action.DUMMY, _SAYS_DEIDENTIFIED
        return self._by_rule(element)

    def _by_rule(self, element: Element) -> tuple[Action, str]:
        tag = element.tag
        rule = self.profile.rules.get(tag)
        if rule is None:
            return Action.REMOVE, _why_unlisted(tag)
        vr = vr_in_force(element)
        if rule.action is not Action.REMOVE and (not vr or (element.undefined and vr != "SQ")):
            return Action.REMOVE, _CONTRADICTS
        return rule.action, self.profile.clauses[tag]

    def _on_private(self, element: Element, blocks: Blocks) -> tuple[Action, str]:
        if self.profile.safe_private.names(blocks.owners.get(element.tag), element.tag):
            return Action.KEEP, _SAFE_PRIVATE
        safe = self.profile.private(blocks.owner(element.tag), element.tag)
        if safe is None:
            return Action.REMOVE, _PRIVATE
        return (safe[0].action, _SAFE_PRIVATE) if element.vr in {safe[1], ""} else (Action.REMOVE, _CONTRADICTS)

    def _inside(self, element: Element, action: Action, tags: tuple[int, ...]) -> _Holder:
        rule = self.profile.rules.get(element.tag)
        # of what is written anew (D, at the root) no item of the input stays
        is_gone = action in {Action.REMOVE, Action.ZERO} or (rule is None and not is_private(element.tag))
        return _Holder(tags, is_gone=is_gone, is_code=rule is not None and rule.codes is not None)


def attributes_of(path: Path, profile: Profile | None = None) -> set[Attribute]:
    """List the attributes of a Part 10 file at every depth, in private sequences too, with what becomes of each.

    The action is that of the rule: K and C keep or move only a value of the form that the rule asks for, and empty any
    other, or do with it as the Basic Profile says.

    Parameters
    ----------
    profile
        None: the Basic Profile with modified dates.

    Raises
    ------
    UnreadableError
        When the file cannot be read as the engine would have to.
    OSError
        When it cannot be read at all.
    """
    opened = open_part10(path)
    walk = _Walk(profile or node_profile(), opened.data, set(_file_meta(opened, path)))
    try:
        walk.walk(_before_pixels(opened, walk.found), opened.encoding, _Holder())
    except RecursionError as error:
        raise UnreadableError("sequences are nested too deeply") from error
    return walk.found


def _file_meta(opened: Part10, path: Path) -> Iterator[Attribute]:
    data = path.read_bytes() if opened.deflated else opened.data
    for element in elements(data, 132, len(data), EXPLICIT_LITTLE):
        if element.tag >> 16 != 0x0002:
            return
        if element.tag == _MEDIA_STORAGE_SOP_INSTANCE_UID:
            action, source = Action.UID, _BASIC
        elif element.tag in _META_AS_SENT:
            action, source = Action.KEEP, _META
        else:
            action, source = (Action.DUMMY if element.tag in _META_REPLACED else Action.REMOVE), _META
        yield Attribute((element.tag,), element.vr, action, source)
        if data[element.stop : element.stop + 2] != b"\x02\x00":  # what follows may be encoded otherwise
            return


def _before_pixels(opened: Part10, found: set[Attribute]) -> Iterator[Element]:
    """Elements of the root up to Pixel Data; Pixel Data and what follows them go straight to what was found."""
    data, encoding = opened.data, opened.encoding
    for element in elements(data, opened.start, len(data), encoding):
        if element.tag in PIXEL_DATA:
            found.add(Attribute((element.tag,), _vr_shown(element), Action.KEEP, _PIXELS))
            position = pixel_data_stop(data, element, encoding)
            with suppress(UnreadableError):  # dropped unread: it may be anything
                for after in elements(data, position, len(data), encoding):
                    found.add(Attribute((after.tag,), _vr_shown(after), Action.REMOVE, _AFTER_PIXELS))
            return
        yield element


def _why_unlisted(tag: int) -> str:
    if tag >> 16 & 1:
        return _PRIVATE
    is_curve, is_overlay = tag >> 24 == 0x50, tag >> 24 == 0x60 and tag & 0xFFFF in {0x3000, 0x4000}
    return _BASIC if is_curve or is_overlay else _NOT_LISTED


def _vr_shown(element: Element) -> str:
    return element.vr or vr_of(element.tag) or "UN"
