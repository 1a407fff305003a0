"""Headers that are laid out as one before: read at once where that one had its values, without a walk.

Used by header. The instances of a series differ in values, seldom in their lengths. What a walk does follows from the
tags, VRs and lengths that it reads: where all of these are the same, so is the walk, and its values lie where they lay.
"""

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import itemgetter

_MOST = 4
_MOST_ELEMENTS = 1000

Head = tuple[int, int]
"""Where tag, VR and length of an element begin, and where they end."""


class _Layout:
    """Where the elements of one header lay, and what stood before their values."""

    def __init__(self, encoding: object, data: bytes, heads: Sequence[Head], values: dict[int, Head]) -> None:
        self.encoding = encoding
        self._last, end = heads[-1]
        # It moves when the length of any value before it changes: most other headers are told apart by it alone.
        self._last_head = data[self._last : end]
        self._heads = _cut(heads)
        self._same = self._heads(data)
        # Where a tag stands twice, it keeps its first place among the tags and has the last one's value.
        in_order = sorted(values.items(), key=itemgetter(1))
        self._tags = [tag for tag, _ in in_order]
        self._values = _cut([place for _, place in in_order])

    def read(self, data: bytes) -> dict[int, bytes] | None:
        """Return the values of a header that is laid out like this one, by tag; None: it is not."""
        if data.startswith(self._last_head, self._last) and self._heads(data) == self._same:
            return dict(zip(self._tags, self._values(data), strict=True))
        return None


def _cut(parts: Sequence[Head]) -> Callable[[bytes], tuple[bytes, ...]]:
    """Return what cuts the parts, which are in order, out of bytes."""
    steps = (f"{start - before}x{end - start}s" for (_, before), (start, end) in pairwise([(0, 0), *parts]))
    return struct.Struct("".join(steps)).unpack_from


class Layouts:
    """The layouts of the last headers, of all threads of a process."""

    def __init__(self) -> None:
        self._recent: tuple[_Layout, ...] = ()

    def read(self, encoding: object, data: bytes) -> dict[int, bytes] | None:
        """Return the values of a header that is laid out as one before, by tag; None: walk it."""
        for layout in self._recent:
            if layout.encoding is encoding:
                values = layout.read(data)
                if values is not None:
                    return values
        return None

    def learn(self, encoding: object, data: bytes, heads: Sequence[Head], values: dict[int, Head]) -> None:
        """Take the header that was walked: all heads that the walk read, in order, and where the values of tags lie."""
        if len(heads) <= _MOST_ELEMENTS:
            self._recent = (_Layout(encoding, data, heads, values), *self._recent[: _MOST - 1])
