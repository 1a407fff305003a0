"""Applies the profile to one data set, at every depth.

Comes from the engine with an opened file; goes back as encoded elements. Never copies a value that no rule names.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from covnode.deidentify import values
from covnode.deidentify.descriptions import is_clean
from covnode.deidentify.elements import (
    Buffer,
    Element,
    Encoding,
    elements,
    encode,
    encode_item,
    inner_encoding,
    items,
    most_values,
    vr_of,
)
from covnode.deidentify.keys import PseudonymKeys
from covnode.deidentify.profile import RETAINED_CODE, Action, Profile, Rule
from covnode.deidentify.registered_codes import (
    CODE_ELEMENTS,
    CODE_MEANING,
    CODE_VALUE,
    CODING_SCHEME,
    Codes,
    registered_codes,
)
from covnode.deidentify.remembered import Remembered, is_short
from covnode.deidentify.safe_private import Blocks, is_private

_CONTRAST_BOLUS_AGENT = 0x00180010
_VALUE_TYPE, _CONCEPT_NAME, _CONTENT_SEQUENCE = 0x0040A040, 0x0040A043, 0x0040A730
_VALUE_OF_TYPE = {"CODE": 0x0040A168, "NUM": 0x0040A300, "NUMERIC": 0x0040A30A, "CONTAINER": _CONTENT_SEQUENCE}


@dataclass(frozen=True)
class Cleaner:
    """The profile for the files of one patient in one encoding.

    Most elements are the same in every instance of a series, so it remembers what it made of them. What becomes of an
    element depends on nothing but its bytes as sent and the encoding that they are read in.

    Attributes
    ----------
    names_somebody
        Whether a text holds a word of a name in the originals: a description that does is not clean.
    encoding
        What is written; an item of VR UN may be read in another one.
    """

    profile: Profile
    keys: PseudonymKeys
    offset_days: int
    names_somebody: Callable[[str], bool]
    encoding: Encoding
    _made: Remembered[tuple[bytes, Encoding], bytes | None] = field(
        default_factory=Remembered, init=False, repr=False, compare=False
    )

    def clean(self, data: Buffer, found: Iterable[Element], encoding: Encoding) -> dict[int, bytes]:
        """Encode, by tag, the elements that stay.

        Raises
        ------
        UnreadableError
            When an item cannot be read to its end.
        """
        table, safe, blocks = self.profile.rules, self.profile.safe_private.vrs, Blocks()
        kept: dict[int, bytes] = {}
        for element in found:
            rule = table.get(element.tag)
            if rule is None:
                if safe and is_private(element.tag):
                    self._keep_private(element, data, encoding, blocks, kept)
            elif rule.action is not Action.REMOVE:
                encoded = self._remembered(rule, element, data, encoding)
                if encoded is not None:
                    kept[element.tag] = encoded
        return kept

    def _keep_private(
        self, element: Element, data: Buffer, encoding: Encoding, blocks: Blocks, kept: dict[int, bytes]
    ) -> None:
        """Keep an attribute that is safe, with its creator (option Retain Safe Private)."""
        blocks.note(element, data)
        tag = element.tag
        claimed = blocks.owners.get(tag)
        if claimed is not None and self.profile.safe_private.names(claimed, tag):
            kept[tag] = encode(tag, "LO", claimed.encode("ascii"), self.encoding)
        safe = self.profile.private(blocks.owner(tag), tag)
        if safe is None or element.vr not in {safe[1], ""}:
            return
        encoded = self._element(*safe, element, data, encoding)
        if encoded is not None:
            kept[tag] = encoded

    def _remembered(self, rule: Rule, element: Element, data: Buffer, encoding: Encoding) -> bytes | None:
        """Clean an element of the standard's: unlike a private one, it means the same wherever it stands."""
        if not is_short(element.stop - element.begin):
            return self._element(rule, vr_in_force(element), element, data, encoding)
        sent = (data[element.begin : element.stop], encoding)
        if sent in self._made:
            return self._made[sent]
        encoded = self._made[sent] = self._element(rule, vr_in_force(element), element, data, encoding)
        return encoded

    def _element(self, rule: Rule, vr: str, element: Element, data: Buffer, encoding: Encoding) -> bytes | None:
        if vr == "SQ":
            return self._sequence(rule, element, data, encoding)
        if not vr or element.undefined or (vr in values.BINARY_BYTES and encoding.little != self.encoding.little):
            return None
        value = self._value(rule, element.tag, vr, data[element.start : element.stop])
        return None if value is None else encode(element.tag, vr, value, self.encoding)

    def _value(self, rule: Rule, tag: int, vr: str, raw: bytes) -> bytes | None:
        """Choose the value that stands in the copy; None removes the element."""
        if vr == "UI" and rule.action is not Action.ZERO:
            is_kept = rule.is_retained and values.are_uids(raw)
            return raw if is_kept else values.replaced_uids(raw, self.keys.uid)
        if rule.otherwise is not None:
            return raw if self._is_clean(vr, raw) else self._value(Rule(rule.otherwise), tag, vr, raw)
        if tag == _CONTRAST_BOLUS_AGENT:
            return values.contrast_agent(raw)
        if rule.action is Action.ZERO or (
            vr in values.STRING_VRS and not values.strip(raw) and rule.action is not Action.REMOVE
        ):
            return b""
        return self._by_action(rule, tag, vr, raw)

    def _by_action(self, rule: Rule, tag: int, vr: str, raw: bytes) -> bytes | None:
        if rule.action is Action.REMOVE:
            return None
        if rule.action is Action.DUMMY:
            return values.dummy(vr)
        if rule.action is Action.CLEAN:
            return values.moved(vr, raw, self.offset_days) or (b"" if vr in values.STRING_VRS else None)
        return self._kept(rule, tag, vr, raw)

    def _kept(self, rule: Rule, tag: int, vr: str, raw: bytes) -> bytes | None:
        """Let a value stay, or empty a text that may not."""
        if vr in values.BINARY_BYTES:
            most = 0 if vr == "OV" else most_values(tag)  # an offset table is one value of any length
            return values.keep_numbers(vr, raw, most, "<" if self.encoding.little else ">")
        if vr not in values.STRING_VRS:
            return None
        kept = (values.retain if rule.is_retained else values.keep)(rule, vr, raw)
        return b"" if kept is None else kept

    def _is_clean(self, vr: str, raw: bytes) -> bool:
        text = values.strip(raw).decode("latin-1")
        return vr in values.TEXT_VRS and is_clean(text) and not self.names_somebody(text)

    def _sequence(self, rule: Rule, element: Element, data: Buffer, encoding: Encoding) -> bytes | None:
        """Clean every item: whatever the action on the sequence, its items fall under the profile themselves."""
        if rule.action is Action.ZERO:
            return encode(element.tag, "SQ", b"", self.encoding)
        inner = inner_encoding(element, encoding)
        contents = []
        for start, stop in items(data, element, inner):
            if rule.codes:
                contents.append(self._code(rule.codes, data, start, stop, inner))
            else:
                cleaned = self.clean(data, elements(data, start, stop, inner), inner)
                contents.append(b"" if rule.content and not self._is_content(cleaned) else joined(cleaned))
        is_chosen = rule.codes or rule.content or rule.otherwise
        written = b"".join(encode_item(content, self.encoding) for content in contents if content or not is_chosen)
        if not written and rule.otherwise is Action.REMOVE:
            return None
        return encode(element.tag, "SQ", written, self.encoding)

    def _code(self, which: Codes, data: Buffer, start: int, stop: int, encoding: Encoding) -> bytes:
        """Encode a registered code with its registered meaning; nothing for any other code, unless all stay as sent."""
        found = {
            element.tag: values.strip(data[element.start : element.stop])
            for element in elements(data, start, stop, encoding)
            if element.tag in CODE_ELEMENTS
        }
        if which is Codes.AS_SENT:
            kept = {tag: values.retain(RETAINED_CODE, vr_of(tag), value) for tag, value in sorted(found.items())}
            return b"".join(encode(tag, vr_of(tag), kept[tag] or b"", self.encoding) for tag in kept)
        key = (found.get(CODE_VALUE, b"").decode("latin-1"), found.get(CODING_SCHEME, b"").decode("latin-1"))
        code = registered_codes(which).get(key)
        if code is None:
            return b""
        value, scheme, meaning = (text.encode("ascii", "replace") for text in code)
        return (
            encode(CODE_VALUE, "SH", value, self.encoding)
            + encode(CODING_SCHEME, "SH", scheme, self.encoding)
            + encode(CODE_MEANING, "LO", meaning, self.encoding)
        )

    def _is_content(self, item: dict[int, bytes]) -> bool:
        """Whether a cleaned content item still says something: its type, its name, its value."""
        head = len(encode(_VALUE_TYPE, "CS", b"", self.encoding))
        value = _VALUE_OF_TYPE.get(item.get(_VALUE_TYPE, b"")[head:].decode("ascii").strip().upper(), 0)
        needed = {_VALUE_TYPE, _CONCEPT_NAME, value}
        return all(len(item.get(tag, b"")) > len(encode(tag, vr_of(tag), b"", self.encoding)) for tag in needed)


def joined(kept: dict[int, bytes]) -> bytes:
    """Join the elements in ascending order of their tags (PS3.5 section 7.1)."""
    return b"".join(kept[tag] for tag in sorted(kept))


def vr_in_force(element: Element) -> str:
    """Find the standard's VR, unless the file's own contradicts it (empty: the value cannot be understood)."""
    vr = vr_of(element.tag)
    if " or " in vr:
        choices = vr.split(" or ")
        return element.vr if element.vr in choices else "" if element.vr else choices[0]
    if not element.vr or element.vr in {vr, "UN"}:
        return vr
    return vr if vr in values.STRING_VRS and element.vr in values.STRING_VRS else ""
