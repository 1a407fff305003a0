import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from covnode.deidentify.keys import PseudonymKeys
from covnode.errors import ConfigurationError

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
    other = PseudonymKeys(KEY[::-1])
    assert len({keys.vault_key, other.vault_key, KEY}) == 3
    assert keys.digest("x") != other.digest("x")
    assert keys.uid("1.2.3") != other.uid("1.2.3")
    assert keys.patient_id("a", "b") != keys.patient_id("", "ab")


def test_padding_does_not_make_another_patient(keys):
    assert keys.patient_id(" HOSP", "MRN-1 ") == keys.patient_id("HOSP", "MRN-1")


def test_a_created_file_loads_and_is_private(tmp_path):
    path = tmp_path / "secrets" / "keys.json"
    created = PseudonymKeys.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert PseudonymKeys.load(path).uid("1.2.3") == created.uid("1.2.3")
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.json"]


def test_two_created_files_differ(tmp_path):
    one, other = PseudonymKeys.create(tmp_path / "a"), PseudonymKeys.create(tmp_path / "b")
    assert one.vault_key != other.vault_key


def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "keys.json"
    PseudonymKeys.create(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="never overwritten"):
        PseudonymKeys.create(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_a_folder_that_others_may_write_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="written by others"):
        PseudonymKeys.create(tmp_path / "keys.json")


def test_a_missing_or_open_file_is_refused_by_name(tmp_path):
    path = tmp_path / "keys.json"
    with pytest.raises(ConfigurationError, match=r"keys\.json"):
        PseudonymKeys.load(path)
    PseudonymKeys.create(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        PseudonymKeys.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-20],
        lambda content: b"not json",
        lambda content: b"[]",
        lambda content: json.dumps(json.loads(content) | {"key": base64.b64encode(KEY).decode()}).encode(),
        lambda content: json.dumps(json.loads(content) | {"key": "short"}).encode(),
        lambda content: json.dumps(json.loads(content) | {"format": "other"}).encode(),
        lambda content: b"\xff\xfe" + content,
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "keys.json"
    PseudonymKeys.create(path)
    secret = json.loads(path.read_bytes())["key"]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigurationError, match=r"keys\.json") as refused:
        PseudonymKeys.load(path)
    assert secret not in str(refused.value)


def test_repr_shows_no_key(keys):
    assert repr(keys) == str(keys) == "PseudonymKeys(<secret>)"
    assert KEY.hex() not in str(vars(keys))
