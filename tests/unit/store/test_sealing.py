import pytest
from vault_keys import GrowingKeys

from covnode.errors import ConfigurationError
from covnode.store.sealing import Sealed, Seals

KEY = bytes(range(32))
PLAIN = "Zqmüller^Änne 1.2.3".encode() * 5


@pytest.fixture
def seals():
    return Seals(GrowingKeys(KEY))


def test_what_is_sealed_opens_again(seals):
    assert seals.unseal(seals.seal(PLAIN, "series-1:1"), "series-1:1") == PLAIN


def test_what_releases_before_the_generations_sealed_opens(seals):
    """Bytes of an older release: a change would lock every vault that is there."""
    old = bytes.fromhex("01000000000000000000000000") + bytes.fromhex("7ed0d4b7db29b3e7745ed1c07419c2c86e67266255")
    assert seals.unseal(Sealed(old, 1), "series-1:1") == b"plain"


def test_what_is_sealed_shows_nothing_and_is_never_sealed_alike(seals):
    one, other = (seals.seal(PLAIN, "series-1:1") for _ in range(2))
    assert one != other
    assert b"Zqm" not in one.content
    assert b"1.2.3" not in one.content


@pytest.mark.parametrize("position", [0, 1, 12, 13, 60, -16, -1])
def test_every_changed_byte_is_noticed(seals, position):
    changed = bytearray(seals.seal(PLAIN, "series-1:1").content)
    changed[position] ^= 1
    with pytest.raises(ConfigurationError) as refused:
        seals.unseal(Sealed(bytes(changed), 1), "series-1:1")
    assert "Zqm" not in str(refused.value)


@pytest.mark.parametrize("length", [0, 1, 12, 13, 20, 100])
def test_truncated_bytes_are_refused(seals, length):
    sealed = seals.seal(PLAIN, "series-1:1")
    with pytest.raises(ConfigurationError):
        seals.unseal(Sealed(sealed.content[:length], 1), "series-1:1")


def test_another_key_or_another_place_is_refused(seals):
    sealed = seals.seal(PLAIN, "series-1:1")
    with pytest.raises(ConfigurationError):
        Seals(GrowingKeys(KEY[::-1])).unseal(sealed, "series-1:1")
    with pytest.raises(ConfigurationError):
        seals.unseal(sealed, "series-1:2")


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ConfigurationError, match="32 bytes"):
        Seals(GrowingKeys(KEY[:16])).seal(PLAIN, "series-1:1")


def test_the_newest_generation_seals_and_each_opens_what_it_sealed():
    keys = GrowingKeys(KEY)
    seals = Seals(keys)
    old = seals.seal(PLAIN, "a")
    keys.keys.append(KEY[::-1])
    new = seals.seal(PLAIN, "a")
    assert (old.generation, new.generation) == (1, 2)
    assert seals.unseal(old, "a") == seals.unseal(new, "a") == PLAIN
    renewed = seals.renewed(old, "a")
    assert renewed.generation == 2
    assert Seals(GrowingKeys(KEY)).unseal(old, "a") == PLAIN
    with pytest.raises(ConfigurationError):
        seals.unseal(Sealed(renewed.content, 1), "a")
