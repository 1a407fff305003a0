"""Keyed pseudonyms, look-up digests and the vault's key: all derive from one secret, a generation of the key file.

Comes from deidentify.key_file; goes to the engine (pseudonyms), to the database (digests) and to the vault (its key).
Never leaves the receiver, the sender and the audited look-ups; never prints key material.
"""

import base64
import hmac
import secrets
import uuid
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_LARGEST_SHIFT_DAYS = 3650


class Digests:
    """Keyed look-up digests, and nothing that makes a pseudonym or opens the vault."""

    def __init__(self, key: bytes) -> None:
        # Copied for each: to make one anew costs OpenSSL ten times what the digest does.
        self._keyed = hmac.new(_derive(key, "digests"), digestmod="sha256")

    def __repr__(self) -> str:
        return "Digests(<secret>)"

    def __call__(self, *parts: str) -> str:
        """Hex HMAC-SHA256 to look a value up without storing it; ("a", "bc") and ("ab", "c") differ."""
        mac = self._keyed.copy()
        mac.update(_message(parts))
        return mac.hexdigest()


class PseudonymKeys:
    """Keyed, one-way pseudonyms: the same for the same input on every host and for ever.

    One random 256-bit key is stored; HKDF-SHA256 (RFC 5869) derives a key of its own for pseudonyms, for digests
    and for the vault, so that none of them reveals another.
    """

    def __init__(self, key: bytes) -> None:
        self.digest = Digests(key)
        self._pseudonyms = _derive(key, "pseudonyms")
        self._vault = _derive(key, "vault")

    def __repr__(self) -> str:
        return "PseudonymKeys(<secret>)"

    @classmethod
    def random(cls) -> "PseudonymKeys":
        """Make keys that nobody keeps."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def of(self, issuer: str, patient_id: str) -> "PatientPseudonyms":
        """Return what one patient's copies are made with."""
        return PatientPseudonyms(self, self.patient_id(issuer, patient_id), self.date_offset_days(issuer, patient_id))

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

    @property
    def vault_key(self) -> bytes:
        """32 bytes for the vault's cipher."""
        return self._vault

    def _hmac(self, purpose: str, *parts: str) -> bytes:
        return hmac.digest(self._pseudonyms, _message((purpose, *parts)), "sha256")


@dataclass(frozen=True)
class PatientPseudonyms:
    """What the copies of one patient's images are made with.

    Attributes
    ----------
    keys
        Of the generation that the patient belongs to: for the UIDs.
    patient_id
        Pseudonymous Patient ID.
    date_offset_days
        Days to add to every date.
    """

    keys: PseudonymKeys
    patient_id: str
    date_offset_days: int


class Pseudonyms(Protocol):
    """Knows each patient's pseudonyms: one generation of keys, or the node's table of patients."""

    def of(self, issuer: str, patient_id: str) -> PatientPseudonyms:
        """Return the pseudonyms of a patient, named by issuer and id (by "study" and its UID where there is no id)."""
        ...


def _derive(key: bytes, purpose: str) -> bytes:
    info = f"covnode {purpose} 1".encode()
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


def _message(parts: tuple[str, ...]) -> bytes:
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)
