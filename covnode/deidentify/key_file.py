"""The key file: generations of the site's secret, the first made once, a newer one at each rotation, none ever removed.

Read by the receiver, the sender and the audited look-ups; written by `create` and `rotate` alone, whole and synced.
Format 2 holds the generations in their order; a file of format 1, with its one key, is generation 1. Never prints key
material.
"""

import base64
import binascii
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from covnode.deidentify.keys import KEY_BYTES, Digests, PseudonymKeys
from covnode.disk import sync_folder
from covnode.errors import ConfigurationError

_FORMAT_OF_ONE = "covnode-pseudonym-keys-1"
_FORMAT = "covnode-pseudonym-keys-2"
_OTHERS = 0o077
_OTHERS_MAY_WRITE = 0o022


class KeyRing:
    """All generations of keys, counted from 1.

    Look-up digests are those of generation 1 for ever: names in the spool and rows of the database are found by them,
    and they leave the node's own disk and database nowhere.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._generations = tuple(map(PseudonymKeys, keys))

    def __repr__(self) -> str:
        return f"KeyRing(<{len(self._generations)} secrets>)"

    @property
    def newest(self) -> int:
        """The generation that new patients get, and that the vault seals with."""
        return len(self._generations)

    @property
    def digest(self) -> Digests:
        """The look-up digests."""
        return self._generations[0].digest

    def of_generation(self, generation: int) -> PseudonymKeys:
        """Return the keys of one generation.

        Raises
        ------
        ConfigurationError
            The key file has no such generation.
        """
        if not 1 <= generation <= self.newest:
            raise ConfigurationError(
                f"the key file has no generation {generation}: it is older than the database. Restore the newest copy."
            )
        return self._generations[generation - 1]


class KeyFile:
    """A key file as a running process sees it: what a rotation adds is read at the next use, without a restart.

    Raises
    ------
    ConfigurationError
        The file is missing, readable by others, or not what `create` wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._ring = self._load()

    @property
    def ring(self) -> KeyRing:
        """The generations as they are now; a file that is away or damaged meanwhile takes nothing from who runs."""
        with contextlib.suppress(ConfigurationError):
            self._ring = self._load()
        return self._ring

    @property
    def newest_generation(self) -> int:
        """As the vault asks for it."""
        return self.ring.newest

    def vault_key(self, generation: int) -> bytes:
        """Return the vault's key of one generation."""
        return self.ring.of_generation(generation).vault_key

    def _load(self) -> KeyRing:
        with contextlib.suppress(OSError):
            status = self._path.stat()
            now = (status.st_ino, status.st_mtime_ns, status.st_size)
            if now == self._seen:
                return self._ring
            ring = load(self._path)
            self._seen = now
            return ring
        return load(self._path)


def load(path: Path) -> KeyRing:
    """Read the key file.

    Raises
    ------
    ConfigurationError
        When the file is missing, readable by others, or not what `create` wrote.
    """
    return KeyRing(_read(path))


def create(path: Path) -> KeyRing:
    """Write a new key file with one random key, and load it.

    Raises
    ------
    ConfigurationError
        When the file exists already (a lost key cannot be made again), or others may write to its folder.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.stat().st_mode & _OTHERS_MAY_WRITE:
        raise ConfigurationError(f"{path.parent} may be written by others: keep the key file in a folder of its own")
    keys = [secrets.token_bytes(KEY_BYTES)]
    with _draft(path, keys) as draft:
        try:
            path.hardlink_to(draft)  # unlike a rename, it never replaces a key file
        except FileExistsError as error:
            raise ConfigurationError(f"{path} exists already: a key file is never overwritten") from error
    return KeyRing(keys)


def rotate(path: Path) -> KeyRing:
    """Append a generation, durably: whoever reads sees the old file or the new one, and both hold all that was.

    Raises
    ------
    ConfigurationError
        As `load`; or another rotation runs.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left_by_a_kill in path.parent.glob(f".{path.name}.*"):
            left_by_a_kill.unlink(missing_ok=True)
        keys = [*_read(path), secrets.token_bytes(KEY_BYTES)]
        with _draft(path, keys) as draft:
            draft.replace(path)
    except BlockingIOError:
        raise ConfigurationError("another rotation of the keys runs: wait for it to end") from None
    finally:
        os.close(folder)
    return KeyRing(keys)


@contextlib.contextmanager
def _draft(path: Path, keys: Sequence[bytes]) -> Iterator[Path]:
    """Write the keys beside the key file, synced; the folder is synced too once the draft has its name."""
    content = {
        "format": _FORMAT,
        "keys": [{"key": base64.b64encode(key).decode(), "check": _check(key)} for key in keys],
    }
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _check(key: bytes) -> str:
    """32 bits that tell a damaged key from a good one; they say nothing useful about 256 random bits."""
    return hashlib.sha256(b"covnode key check" + key).hexdigest()[:8]


def _read(path: Path) -> list[bytes]:
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigurationError(f"{path} is open to other users: run `chmod 600 {path}`")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"the key file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is no key file of covnode: restore it from the backup") from error
    try:
        return _keys_of(content)
    except (ValueError, TypeError, binascii.Error) as error:
        raise ConfigurationError(f"the key file {path} is damaged: restore it from the backup") from error


def _keys_of(content: object) -> list[bytes]:
    if not isinstance(content, dict):
        raise TypeError("no object")
    entries = {_FORMAT_OF_ONE: [content], _FORMAT: content.get("keys")}.get(str(content.get("format")))
    if not isinstance(entries, list) or not entries:
        raise ValueError("no keys")
    return [_key_of(entry) for entry in entries]


def _key_of(entry: object) -> bytes:
    if not isinstance(entry, dict):
        raise TypeError("no object")
    key = base64.b64decode(str(entry.get("key")), validate=True)
    if len(key) != KEY_BYTES or entry.get("check") != _check(key):
        raise ValueError("not the key that was written")
    return key
