"""Applies the profile to one data set, at every depth.

Comes from the engine with an opened file; goes back as encoded elements. Never copies a value that no rule names.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from covnode.deidentify import values
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
from covnode.deidentify.profile import Action, Rule, registered_codes, rules
from covnode.deidentify.remembered import Remembered, is_short

_CONTRAST_BOLUS_AGENT = 0x00180010
_CODE_VALUE, _CODING_SCHEME, _CODE_MEANING = CODE_ELEMENTS = 0x00080100, 0x00080102, 0x00080104


@dataclass(frozen=True)
class Cleaner:
    """The profile for the files of one patient in one encoding.

    Most elements are the same in every instance of a series, so it remembers what it made of them. What becomes of an
    element depends on nothing but its bytes as sent and the encoding that they are read in.

    Attributes
    ----------
    encoding
        What is written; an item of VR UN may be read in another one.
    """

    keys: PseudonymKeys
    offset_days: int
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
        table, kept = rules(), {}
        for element in found:
            rule = table.get(element.tag)
            if rule is None or rule.action is Action.REMOVE:
                continue
            encoded = self._remembered(rule, element, data, encoding)
            if encoded is not None:
                kept[element.tag] = encoded
        return kept

    def _remembered(self, rule: Rule, element: Element, data: Buffer, encoding: Encoding) -> bytes | None:
        if not is_short(element.stop - element.begin):
            return self._element(rule, element, data, encoding)
        sent = (data[element.begin : element.stop], encoding)
        if sent in self._made:
            return self._made[sent]
        encoded = self._made[sent] = self._element(rule, element, data, encoding)
        return encoded

    def _element(self, rule: Rule, element: Element, data: Buffer, encoding: Encoding) -> bytes | None:
        vr = vr_in_force(element)
        if vr == "SQ":
            return self._sequence(rule, element, data, encoding)
        if not vr or element.undefined or (vr in values.BINARY_BYTES and encoding.little != self.encoding.little):
            return None
        value = self._value(rule, element.tag, vr, data[element.start : element.stop])
        return None if value is None else encode(element.tag, vr, value, self.encoding)

    def _value(self, rule: Rule, tag: int, vr: str, raw: bytes) -> bytes | None:
        """Choose the value that stands in the copy; None removes the element."""
        if vr == "UI" and rule.action is not Action.ZERO:
            return values.replaced_uids(raw, self.keys.uid)
        if tag == _CONTRAST_BOLUS_AGENT:
            return values.contrast_agent(raw)
        if rule.action is Action.ZERO or (vr in values.STRING_VRS and not values.strip(raw)):
            return b""
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
        kept = values.keep(rule, vr, raw)
        return b"" if kept is None else kept

    def _sequence(self, rule: Rule, element: Element, data: Buffer, encoding: Encoding) -> bytes:
        """Clean every item: whatever the action on the sequence, its items fall under the profile themselves."""
        if rule.action is Action.ZERO:
            return encode(element.tag, "SQ", b"", self.encoding)
        inner = inner_encoding(element, encoding)
        contents = []
        for start, stop in items(data, element, inner):
            if rule.codes:
                contents.append(self._code(data, start, stop, inner))
            else:
                contents.append(joined(self.clean(data, elements(data, start, stop, inner), inner)))
        written = b"".join(encode_item(content, self.encoding) for content in contents if content or not rule.codes)
        return encode(element.tag, "SQ", written, self.encoding)

    def _code(self, data: Buffer, start: int, stop: int, encoding: Encoding) -> bytes:
        """Encode a registered code with its registered meaning; nothing for any other code."""
        found = {
            element.tag: values.strip(data[element.start : element.stop]).decode("latin-1")
            for element in elements(data, start, stop, encoding)
            if element.tag in {_CODE_VALUE, _CODING_SCHEME}
        }
        code = registered_codes().get((found.get(_CODE_VALUE, ""), found.get(_CODING_SCHEME, "")))
        if code is None:
            return b""
        value, scheme, meaning = (text.encode("ascii", "replace") for text in code)
        return (
            encode(_CODE_VALUE, "SH", value, self.encoding)
            + encode(_CODING_SCHEME, "SH", scheme, self.encoding)
            + encode(_CODE_MEANING, "LO", meaning, self.encoding)
        )


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
