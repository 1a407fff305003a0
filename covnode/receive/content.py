"""The checksum of a data set's bytes as they were received: it names the file in the spool, and tells contents apart.

XXH3 of 128 bits runs over every byte while it comes, at a fifth of what BLAKE3 costs here. It stops nobody who wants
two contents to have one name: where a name is there already, the spool compares the bytes. Files of older releases are
named by BLAKE3 or SHA-256, and keep their names.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from itertools import zip_longest
from typing import Protocol

from blake3 import blake3
from xxhash import xxh3_128

_CHUNK_BYTES = 1 << 20


class _Hasher(Protocol):
    def update(self, data: bytes | memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


KIND = "x3-"
"""What the names begin with now."""
# The oldest last: a folder that has its names goes on with them.
_HASHERS: dict[str, Callable[[], _Hasher]] = {KIND: xxh3_128, "b3-": blake3, "": hashlib.sha256}


class ContentDigest:
    """The checksum of bytes that come in pieces."""

    def __init__(self, kind: str = KIND) -> None:
        self._kind = kind
        self._hasher: _Hasher = _HASHERS[kind]()
        self.update = self._hasher.update

    def name(self) -> str:
        """Return the checksum with its kind, as it stands in names of files and in our tables."""
        return self._kind + self._hasher.hexdigest()


def kind_of(names: Iterable[str]) -> str:
    """Return the oldest kind among these names; the one of now where there is none."""
    kinds = {next(kind for kind in _HASHERS if name.startswith(kind)) for name in names}
    return max(kinds, key=list(_HASHERS).index, default=KIND)


def digest_of(file: BufferedReader, kind: str = KIND) -> str:
    """Return the checksum of the rest of an open file; OSError where it cannot be read."""
    content = ContentDigest(kind)
    for piece in _pieces(file):
        content.update(piece)
    return content.name()


def is_content_of(name: str, file: BufferedReader) -> bool:
    """Whether the rest of an open file has this checksum, of whatever kind; OSError where it cannot be read."""
    return digest_of(file, kind_of([name])) == name


def are_alike(one: BufferedReader, other: BufferedReader) -> bool:
    """Whether the rests of two open files are the same bytes; OSError where they cannot be read."""
    return all(a == b for a, b in zip_longest(_pieces(one), _pieces(other)))


def _pieces(file: BufferedReader) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
