import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from covnode.deidentify.keys import PseudonymKeys

KEY = b"a key for tests, never a site's."


KEYS = PseudonymKeys(KEY)


@pytest.fixture
def keys():
    return KEYS


def test_pseudonyms_are_the_same_for_ever(keys):
    """Values of this release: a change would break the link to every copy made so far."""
    assert keys.uid("1.2.840.99999.1") == "2.25.119800870146122437058348617611649301221"
    assert keys.patient_id("HOSP", "MRN-1") == "CN-2FIJAZK67NBXRIEPECSB2TUVBE"
    assert keys.date_offset_days("HOSP", "MRN-1") == -2018
    assert keys.digest("a", "bc") == "d663197b5e585b7884650f72478f5eb5a8639dfb0e463ed229d156c556f1c52e"
    assert keys.vault_key.hex() == "085dccfa5cd450bc2fa8c8f47ec559fc5c12b6f94b170d58c286665823766e91"


@given(st.text())
def test_every_pseudonymous_uid_is_valid(original):
    uid = KEYS.uid(original)
    assert len(uid) <= 64
    assert UID(uid).is_valid
    number = int(uid.removeprefix("2.25."))
    assert number < 1 << 128
    assert (number >> 76) & 0xF == 4  # version of the UUID
    assert (number >> 62) & 0b11 == 0b10  # variant of the UUID


@given(st.text(), st.text())
def test_the_date_offset_is_never_zero_and_lies_in_the_past(issuer, patient_id):
    assert -3650 <= KEYS.date_offset_days(issuer, patient_id) <= -1


@given(st.lists(st.text()), st.lists(st.text()))
def test_digests_of_different_parts_differ(one, other):
    assert (KEYS.digest(*one) == KEYS.digest(*other)) is (one == other)


def test_every_kind_of_pseudonym_has_a_key_of_its_own(keys):
    other = PseudonymKeys.random()
    assert len({keys.vault_key, other.vault_key, KEY}) == 3
    assert keys.digest("x") != other.digest("x")
    assert keys.uid("1.2.3") != other.uid("1.2.3")
    assert keys.patient_id("a", "b") != keys.patient_id("", "ab")


def test_padding_does_not_make_another_patient(keys):
    assert keys.patient_id(" HOSP", "MRN-1 ") == keys.patient_id("HOSP", "MRN-1")


def test_repr_shows_no_key(keys):
    assert repr(keys) == str(keys) == "PseudonymKeys(<secret>)"
    assert KEY.hex() not in str(vars(keys))
    assert str(keys.digest) == "Digests(<secret>)"


def test_the_digests_alone_make_no_pseudonym_and_open_no_vault(keys):
    """What a door holds."""
    held = str(vars(keys.digest))
    assert keys.vault_key.hex() not in held
    assert repr(keys.vault_key) not in held
    assert not hasattr(keys.digest, "uid")


def test_the_pseudonyms_of_a_patient_are_those_of_the_keys(keys):
    patient = keys.of("HOSP", "MRN-1")
    assert patient.patient_id == keys.patient_id("HOSP", "MRN-1")
    assert patient.date_offset_days == keys.date_offset_days("HOSP", "MRN-1")
