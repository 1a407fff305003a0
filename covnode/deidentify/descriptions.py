"""Tells a description that names nobody: option Clean Descriptors (PS3.15 E.3.5).

Comes from the cleaning with a text, and from the check with what the cleaning let stay; goes back as a verdict. Never
rewrites a text: it stays whole, or what the Basic Profile says becomes of it.

Clean is a text in plain ASCII whose words are all in descriptor_words.txt, with at most one number, under 100 and maybe
in mm, and names of reconstruction kernels. So no date, age, telephone number, room or identifier is in it, and no name
but one that is such a word too: that one the cleaning and the check compare with the names of the original.
"""

import re
from functools import cache
from importlib.resources import files

_PLAIN = re.compile(r"[ -~]*")
_WORD = re.compile(r"[a-z0-9]+(?:\.[0-9]+)?")
_NUMBER = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,2})?(?:mm)?")
_KERNEL = re.compile(r"[bdhtu][0-9]{2}[fhps]|[bhq][flrv][0-9]{2}d?")  # such as B40f, Br38


def is_clean(text: str) -> bool:
    """Whether a description may stay as sent."""
    if not _PLAIN.fullmatch(text):
        return False
    others = [word for word in _WORD.findall(text.lower()) if word not in _words() and not _KERNEL.fullmatch(word)]
    return len(others) <= 1 and all(map(_NUMBER.fullmatch, others))


@cache
def _words() -> frozenset[str]:
    lines = (files(__package__) / "descriptor_words.txt").read_text(encoding="utf-8")
    return frozenset(re.sub(r"^[^:\n]*:", "", lines, flags=re.MULTILINE).split())
