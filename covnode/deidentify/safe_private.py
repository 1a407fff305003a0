"""The private attributes that a site states to be safe (PS3.15 E.3.10), and who owns a private attribute of a file.

Comes from a CSV of the site's own; goes to the profile, and with it to the engine, the check and the dry run. Never
takes an attribute for safe whose creator, element or VR is another one than the list's.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covnode.deidentify.elements import Buffer, Element
from covnode.errors import ConfigurationError

COLUMNS = ("creator", "tag", "vr")
SAFE_VRS = frozenset(
    {"AS", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "SH", "SL", "SQ", "SS", "ST", "TM", "UI", "UL", "US"}
)
"""VRs whose values can be checked: not names, and not bytes that may be anything."""

_TAG = re.compile(r"\(?([0-9A-F]{3}[13579BDF]),?XX([0-9A-F]{2})\)?")
_CREATOR = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,62}[!-\[\]-~])?")


@dataclass(frozen=True)
class SafePrivate:
    """VR by creator, group and the low byte of the element."""

    vrs: Mapping[tuple[str, int, int], str] = field(default_factory=dict)

    def names(self, creator: str | None, tag: int) -> bool:
        """Whether the list has an attribute of a creator in the group of a tag."""
        return any(key[:2] == (creator, tag >> 16) for key in self.vrs)

    def vr_of(self, creator: str | None, tag: int) -> str | None:
        """VR that a private attribute must have; None: it is not on the list."""
        return None if creator is None else self.vrs.get((creator, tag >> 16, tag & 0xFF))


def load_safe_private(path: Path) -> SafePrivate:
    """Read a list of safe private attributes: CSV with the columns creator, tag (as ``0019,xx23``) and vr.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or a line is none of the form.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not a text in UTF-8.") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise ConfigurationError(f"{path}: the first line is {','.join(COLUMNS)}, and each other line one attribute.")
    found: dict[tuple[str, int, int], str] = {}
    for number, row in enumerate(rows, start=2):
        match = _TAG.fullmatch((row["tag"] or "").upper())
        if match is None or not _CREATOR.fullmatch(row["creator"] or ""):
            raise ConfigurationError(
                f'{path}, line {number}: name the creator as in the files and the tag as "0019,xx23" (an odd group, xx '
                "for the block, the element)."
            )
        if row["vr"] not in SAFE_VRS:
            raise ConfigurationError(
                f"{path}, line {number}: values of this VR cannot be checked; {', '.join(sorted(SAFE_VRS))} can."
            )
        if found.setdefault((row["creator"], int(match[1], 16), int(match[2], 16)), row["vr"]) != row["vr"]:
            raise ConfigurationError(f"{path}, line {number}: the attribute stands there twice, with two VRs.")
    return SafePrivate(found)


@dataclass
class Blocks:
    """Who owns the private blocks of one data set, or item (PS3.5 section 7.8.1); the first that claims one does."""

    owners: dict[int, str] = field(default_factory=dict)

    def note(self, element: Element, data: Buffer) -> None:
        """Take over a private creator."""
        if is_creator(element.tag) and element.vr in {"LO", ""}:
            value = data[element.start : element.stop].decode("latin-1").rstrip(" \0")
            self.owners.setdefault(element.tag, value)

    def owner(self, tag: int) -> str | None:
        """Return the creator of a private attribute, as far as one went before it."""
        return self.owners.get(creator_tag_of(tag))


def is_private(tag: int) -> bool:
    """Whether the group is odd."""
    return bool(tag >> 16 & 1)


def is_creator(tag: int) -> bool:
    """Whether it is a private creator, not an attribute."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF


def creator_tag_of(tag: int) -> int:
    """Tag of the creator of a private attribute's block."""
    return tag & 0xFFFF0000 | tag >> 8 & 0xFF
