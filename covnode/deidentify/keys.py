"""The site's secret: pseudonyms, look-up digests and the vault's key all derive from it.

Comes from one key file that `create` wrote once; goes to the engine (pseudonyms), to the database (digests) and to
the vault (its key). Never leaves the receiver, the sender and the audited look-ups; never prints key material.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from covnode.errors import ConfigurationError

_FORMAT = "covnode-pseudonym-keys-1"
_KEY_BYTES = 32
_LARGEST_SHIFT_DAYS = 3650
_OTHERS = 0o077
_OTHERS_MAY_WRITE = 0o022


class PseudonymKeys:
    """Keyed, one-way pseudonyms: the same for the same input on every host and for ever.

    One random 256-bit key is stored; HKDF-SHA256 (RFC 5869) derives a key of its own for pseudonyms, for digests
    and for the vault, so that none of them reveals another.
    """

    def __init__(self, key: bytes) -> None:
        self._pseudonyms = _derive(key, "pseudonyms")
        self._digests = _derive(key, "digests")
        self._vault = _derive(key, "vault")

    def __repr__(self) -> str:
        return "PseudonymKeys(<secret>)"

    @classmethod
    def create(cls, path: Path) -> "PseudonymKeys":
        """Write a new random key file and load it.

        Raises
        ------
        ConfigurationError
            When the file exists already (a lost key cannot be made again), or others may write to its folder.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & _OTHERS_MAY_WRITE:
            raise ConfigurationError(
                f"{path.parent} may be written by others: keep the key file in a folder of its own"
            )
        key = secrets.token_bytes(_KEY_BYTES)
        content = {"format": _FORMAT, "key": base64.b64encode(key).decode(), "check": _check(key)}
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(draft)  # unlike a rename, it never replaces a key file
        except FileExistsError as error:
            raise ConfigurationError(f"{path} exists already: a key file is never overwritten") from error
        finally:
            draft.unlink()
        _sync_folder(path.parent)
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> "PseudonymKeys":
        """Read the key file.

        Raises
        ------
        ConfigurationError
            When the file is missing, readable by others, or not what `create` wrote.
        """
        try:
            if path.stat().st_mode & _OTHERS:
                raise ConfigurationError(f"{path} is open to other users: run `chmod 600 {path}`")
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"the key file {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ConfigurationError(f"{path} is no key file of covnode: restore it from the backup") from error
        return cls(_key_of(content, path))

    def uid(self, original: str) -> str:
        """Pseudonymous UID: 2.25.<UUID as integer> (PS3.5 B.2) of 128 bits of HMAC-SHA256.

        Parameters
        ----------
        original
            A UID, or any other string that names one thing.
        """
        digest = self._hmac("uid", original)
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"

    def patient_id(self, issuer: str, patient_id: str) -> str:
        """Pseudonymous Patient ID: CN- and 26 letters and digits, the same for one issuer and id."""
        digest = self._hmac("patient", issuer.strip(), patient_id.strip())
        return "CN-" + base64.b32encode(digest[:16]).decode().rstrip("=")

    def date_offset_days(self, issuer: str, patient_id: str) -> int:
        """Days to add to every date of one patient: -3650 to -1, so that intervals stay and no date lies ahead."""
        digest = self._hmac("dates", issuer.strip(), patient_id.strip())
        return -1 - int.from_bytes(digest[:8]) % _LARGEST_SHIFT_DAYS

    def digest(self, *parts: str) -> str:
        """Hex HMAC-SHA256 to look a value up without storing it; ("a", "bc") and ("ab", "c") differ."""
        return hmac.digest(self._digests, _message(parts), "sha256").hex()

    @property
    def vault_key(self) -> bytes:
        """32 bytes for the vault's cipher."""
        return self._vault

    def _hmac(self, purpose: str, *parts: str) -> bytes:
        return hmac.digest(self._pseudonyms, _message((purpose, *parts)), "sha256")


def _derive(key: bytes, purpose: str) -> bytes:
    info = f"covnode {purpose} 1".encode()
    return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(key)


def _message(parts: tuple[str, ...]) -> bytes:
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)


def _check(key: bytes) -> str:
    """32 bits that tell a damaged key from a good one; they say nothing useful about 256 random bits."""
    return hashlib.sha256(b"covnode key check" + key).hexdigest()[:8]


def _key_of(content: object, path: Path) -> bytes:
    damaged = ConfigurationError(f"the key file {path} is damaged: restore it from the backup")
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise damaged
    try:
        key = base64.b64decode(str(content.get("key")), validate=True)
    except binascii.Error as error:
        raise damaged from error
    if len(key) != _KEY_BYTES or content.get("check") != _check(key):
        raise damaged
    return key


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
