"""The digest of a data set's bytes as they were received: it names the file in the spool, and tells contents apart.

BLAKE3, four times as fast as SHA-256 here: it runs over every byte while it comes. Files of older releases are named by
SHA-256, and keep their names.
"""

import hashlib
from io import BufferedReader

from blake3 import blake3

_KIND = "b3-"
_CHUNK_BYTES = 1 << 20


class ContentDigest:
    """The digest of bytes that come in pieces."""

    def __init__(self) -> None:
        self._hasher = blake3()
        self.update = self._hasher.update

    def name(self) -> str:
        """Return the digest with its kind, as it stands in names of files and in our tables."""
        return _KIND + self._hasher.hexdigest()


def digest_of(file: BufferedReader) -> str:
    """Return the digest of the rest of an open file."""
    content = ContentDigest()
    while chunk := file.read(_CHUNK_BYTES):
        content.update(chunk)
    return content.name()


def is_of_older_release(name: str) -> bool:
    """Whether a digest, or the name of a file, is of the kind that older releases took."""
    return not name.startswith(_KIND)


def digest_of_older_release(file: BufferedReader) -> str:
    """Return the digest of the rest of an open file as older releases took it."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def is_content_of(name: str, file: BufferedReader) -> bool:
    """Whether the rest of an open file has this digest, of either kind.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    return (digest_of_older_release if is_of_older_release(name) else digest_of)(file) == name
