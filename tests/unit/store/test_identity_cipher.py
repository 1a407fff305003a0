import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from covnode.errors import ConfigurationError
from covnode.records.identity import Identity
from covnode.store.identity_cipher import IdentityCipher

KEY = bytes(range(32))
IDENTITY = Identity(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.4",
    frame_of_reference_uid=None,
    attributes={"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Zqmüller^Änne", "Ideographic": "山田^太郎"}]}},
    uid_map={"2.25.1": "1.2.3"},
    ambiguous_references=True,
)


def test_what_is_sealed_opens_again():
    sealed = IdentityCipher(KEY).seal(IDENTITY, "series-1:1")
    assert IdentityCipher(KEY).unseal(sealed, "series-1:1") == IDENTITY


def test_a_sealed_identity_shows_nothing_and_is_never_sealed_alike():
    cipher = IdentityCipher(KEY)
    one, other = (cipher.seal(IDENTITY, "series-1:1") for _ in range(2))
    assert one != other
    assert b"Zqm" not in one
    assert b"1.2.3" not in one


@pytest.mark.parametrize("position", [0, 1, 12, 13, 60, -16, -1])
def test_every_changed_byte_is_noticed(position):
    sealed = bytearray(IdentityCipher(KEY).seal(IDENTITY, "series-1:1"))
    sealed[position] ^= 1
    with pytest.raises(ConfigurationError) as refused:
        IdentityCipher(KEY).unseal(bytes(sealed), "series-1:1")
    assert "Zqm" not in str(refused.value)


@pytest.mark.parametrize("length", [0, 1, 12, 13, 20, 100])
def test_truncated_bytes_are_refused(length):
    sealed = IdentityCipher(KEY).seal(IDENTITY, "series-1:1")
    with pytest.raises(ConfigurationError):
        IdentityCipher(KEY).unseal(sealed[:length], "series-1:1")


def test_another_key_or_another_place_is_refused():
    sealed = IdentityCipher(KEY).seal(IDENTITY, "series-1:1")
    with pytest.raises(ConfigurationError):
        IdentityCipher(KEY[::-1]).unseal(sealed, "series-1:1")
    with pytest.raises(ConfigurationError):
        IdentityCipher(KEY).unseal(sealed, "series-1:2")


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ConfigurationError, match="32 bytes"):
        IdentityCipher(KEY[:16])


def test_an_identity_of_a_later_version_is_refused_without_its_content():
    cipher = IdentityCipher(KEY)
    later = json.dumps(IDENTITY.model_dump() | {"nickname": "Zqsecret"}).encode()
    sealed = b"\x01" + bytes(12) + AESGCM(KEY).encrypt(bytes(12), later, b"\x01series-1:1")
    with pytest.raises(ConfigurationError, match="does not know") as refused:
        cipher.unseal(sealed, "series-1:1")
    assert refused.value.__suppress_context__
    assert "Zqsecret" not in repr(refused.value.__context__)
