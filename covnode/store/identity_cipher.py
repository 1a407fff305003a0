"""Seals an identity before it is stored in the vault, and opens it again.

Comes from intake (an Identity), goes to the vault's table as bytes; back on delivery. Never writes plain text, never
puts content into an error.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from covnode.errors import ConfigurationError
from covnode.records.identity import Identity

_VERSION = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class IdentityCipher:
    """AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce a message.

    A sealed identity is: version byte, nonce, cipher text with its 128-bit tag. The version and the context are
    authenticated, so that a row copied to another series does not open.

    Parameters
    ----------
    vault_key
        32 bytes.

    Raises
    ------
    ConfigurationError
        When the key has another length.
    """

    def __init__(self, vault_key: bytes) -> None:
        if len(vault_key) != _KEY_BYTES:
            raise ConfigurationError("the vault's key must have 32 bytes")
        self._aead = AESGCM(vault_key)

    def seal(self, identity: Identity, context: str) -> bytes:
        """Encrypt; ``context`` names the place it is stored at (our series id and revision)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = identity.model_dump_json().encode()
        return _VERSION + nonce + self._aead.encrypt(nonce, plain, _associated(context))

    def unseal(self, sealed: bytes, context: str) -> Identity:
        """Decrypt what `seal` made for the same context.

        Raises
        ------
        ConfigurationError
            When the key or the context is another, or the bytes were changed.
        """
        if sealed[:1] != _VERSION:
            raise ConfigurationError("a sealed identity has an unknown version: was it written by a newer covnode?")
        nonce, cipher_text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        refused = ConfigurationError("a sealed identity does not open: another key file, another series, or damaged")
        try:
            plain = self._aead.decrypt(nonce, cipher_text, _associated(context))
        except (InvalidTag, ValueError) as error:
            raise refused from error
        try:
            return Identity.model_validate_json(plain)
        except ValidationError:
            # its cause would quote the identity
            raise ConfigurationError("a sealed identity has fields that this covnode does not know") from None


def _associated(context: str) -> bytes:
    return _VERSION + context.encode()
