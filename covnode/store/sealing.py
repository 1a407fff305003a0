"""Seals what the vault keeps, with the newest generation of its key, and opens what any generation sealed.

Comes from the vault and from the table of patients (bytes), goes to their rows as bytes and the number of the
generation. Never writes plain text, never puts content into an error.
"""

import secrets
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from covnode.errors import ConfigurationError

_VERSION = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class VaultKeys(Protocol):
    """The vault's keys, one a generation, counted from 1; a rotation adds one while processes run."""

    @property
    def newest_generation(self) -> int:
        """The one to seal with."""
        ...

    def vault_key(self, generation: int) -> bytes:
        """Return the 32 bytes of a generation; ConfigurationError where it is unknown."""
        ...


class Sealed(NamedTuple):
    """What is stored."""

    content: bytes
    generation: int


class Seals:
    """AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce a message, under the keys of all generations.

    Sealed content is: version byte, nonce, cipher text with its 128-bit tag. The version and the context are
    authenticated, so that a row copied to another place does not open.
    """

    def __init__(self, keys: VaultKeys) -> None:
        self._keys = keys

    def seal(self, plain: bytes, context: str) -> Sealed:
        """Encrypt; ``context`` names the place it is stored at.

        Raises
        ------
        ConfigurationError
            When the vault's key has not 32 bytes.
        """
        generation = self._keys.newest_generation
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher_text = self._cipher(generation).encrypt(nonce, plain, _associated(context))
        return Sealed(_VERSION + nonce + cipher_text, generation)

    def unseal(self, sealed: Sealed, context: str) -> bytes:
        """Decrypt what `seal` made for the same context.

        Raises
        ------
        ConfigurationError
            When the key or the context is another, or the bytes were changed.
        """
        if sealed.content[:1] != _VERSION:
            raise ConfigurationError("a sealed identity has an unknown version: was it written by a newer covnode?")
        nonce, cipher_text = sealed.content[1 : 1 + _NONCE_BYTES], sealed.content[1 + _NONCE_BYTES :]
        try:
            return self._cipher(sealed.generation).decrypt(nonce, cipher_text, _associated(context))
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError(
                "a sealed identity does not open: another key file, another series, or damaged"
            ) from error

    def renewed(self, sealed: Sealed, context: str) -> Sealed:
        """Seal with the newest generation what an older one sealed."""
        return self.seal(self.unseal(sealed, context), context)

    def _cipher(self, generation: int) -> AESGCM:
        key = self._keys.vault_key(generation)
        if len(key) != _KEY_BYTES:
            raise ConfigurationError("the vault's key must have 32 bytes")
        return AESGCM(key)


def _associated(context: str) -> bytes:
    return _VERSION + context.encode()
