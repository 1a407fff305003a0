"""Reads the content tree of an SR with nothing but pydicom (PS3.3 C.17.3).

Comes from the final data set; goes to figures of the interlock.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from covnode.interlock.expected import MEASUREMENT_GROUP, Coded
from covnode.interlock.originals import text_of
from covnode.interlock.segmentation import code_of


@dataclass(frozen=True)
class Item:
    """One content item."""

    dataset: Dataset
    concept: Coded
    value_type: str

    def children(self) -> Iterator["Item"]:
        """Items one level below."""
        return (_item(child) for child in self.dataset.get("ContentSequence") or [])

    def descendants(self) -> Iterator["Item"]:
        """Items on all levels below."""
        for child in self.children():
            yield child
            yield from child.descendants()

    def find(self, value_type: str, concept: Coded) -> list["Item"]:
        """Items one level below with this value type and concept."""
        return [item for item in self.children() if (item.value_type, item.concept) == (value_type, concept)]

    def text(self, value_type: str, concept: Coded) -> str:
        """Value of the single text or UID item with this concept; empty when there is none or more than one."""
        found = self.find(value_type, concept)
        keyword = {"TEXT": "TextValue", "UIDREF": "UID"}[value_type]
        return text_of(found[0].dataset, keyword) if len(found) == 1 else ""

    @property
    def template(self) -> str:
        """Template Identifier; empty when there is none."""
        items = self.dataset.get("ContentTemplateSequence")
        return text_of(items[0], "TemplateIdentifier") if items else ""


def root_of(dataset: Dataset) -> Item:
    """Take the data set itself as the root of its content tree."""
    return _item(dataset)


def groups_of(root: Item, template: str) -> list[Item]:
    """Measurement groups of a template, anywhere in the tree."""
    return [item for item in root.descendants() if item.concept == MEASUREMENT_GROUP and item.template == template]


def _item(dataset: Dataset) -> Item:
    return Item(dataset, code_of(dataset, "ConceptNameCodeSequence"), text_of(dataset, "ValueType"))
