import base64
import fcntl
import hashlib
import itertools
import json
import multiprocessing
import os
import signal

import pytest

from covnode.deidentify import key_file
from covnode.deidentify.key_file import KeyFile
from covnode.deidentify.keys import PseudonymKeys
from covnode.errors import ConfigurationError

KEY = b"a key for tests, never a site's."


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "pseudonyms.key"


def names(path):
    return [entry.name for entry in path.parent.iterdir()]


def test_a_created_file_loads_and_is_private(path):
    created = key_file.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert key_file.load(path).of_generation(1).uid("1.2.3") == created.of_generation(1).uid("1.2.3")
    assert names(path) == ["pseudonyms.key"]


def test_two_created_files_differ(tmp_path):
    one, other = key_file.create(tmp_path / "a"), key_file.create(tmp_path / "b")
    assert one.of_generation(1).vault_key != other.of_generation(1).vault_key


def test_a_key_file_is_never_overwritten(path):
    key_file.create(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="never overwritten"):
        key_file.create(path)
    assert path.read_bytes() == before
    assert names(path) == ["pseudonyms.key"]


def test_a_folder_that_others_may_write_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="written by others"):
        key_file.create(tmp_path / "keys.json")


def test_a_missing_or_open_file_is_refused_by_name(path):
    with pytest.raises(ConfigurationError, match=r"pseudonyms\.key"):
        key_file.load(path)
    key_file.create(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        key_file.load(path)


def changed(content, **fields):
    keys = json.loads(content)
    keys["keys"][0] |= fields
    return json.dumps(keys).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-20],
        lambda content: b"not json",
        lambda content: b"[]",
        lambda content: changed(content, key=base64.b64encode(KEY).decode()),
        lambda content: changed(content, key="short"),
        lambda content: json.dumps(json.loads(content) | {"format": "other"}).encode(),
        lambda content: json.dumps(json.loads(content) | {"keys": []}).encode(),
        lambda content: json.dumps(json.loads(content) | {"keys": ["x"]}).encode(),
        lambda content: b"\xff\xfe" + content,
    ],
)
def test_a_damaged_file_is_refused_by_name(path, damage):
    key_file.create(path)
    secret = json.loads(path.read_bytes())["keys"][0]["key"]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigurationError, match=r"pseudonyms\.key") as refused:
        key_file.load(path)
    assert secret not in str(refused.value)


@pytest.fixture
def of_older_release(path):
    """The file as releases before the generations wrote it."""
    check = hashlib.sha256(b"covnode key check" + KEY).hexdigest()[:8]
    content = {"format": "covnode-pseudonym-keys-1", "key": base64.b64encode(KEY).decode(), "check": check}
    path.parent.mkdir(mode=0o700)
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return path


def test_a_file_of_an_older_release_is_generation_1_and_nothing_derived_from_it_changes(of_older_release):
    keys = PseudonymKeys(KEY)
    for _ in range(2):
        ring = key_file.load(of_older_release)
        assert ring.of_generation(1).uid("1.2.3") == keys.uid("1.2.3")
        assert ring.of_generation(1).vault_key == keys.vault_key
        assert ring.digest("a") == keys.digest("a")
        assert key_file.rotate(of_older_release).newest == ring.newest + 1


def test_a_rotation_adds_a_generation_and_keeps_all_that_was(path):
    first = key_file.create(path)
    second = key_file.rotate(path)
    loaded = key_file.load(path)
    assert (first.newest, second.newest, loaded.newest) == (1, 2, 2)
    assert loaded.of_generation(1).vault_key == first.of_generation(1).vault_key
    assert loaded.of_generation(2).vault_key == second.of_generation(2).vault_key
    assert len({loaded.of_generation(n).uid("1.2.3") for n in (1, 2)}) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(path) == ["pseudonyms.key"]


def test_look_up_digests_outlive_every_rotation(path):
    before = key_file.create(path).digest("study", "1.2.3")
    assert key_file.rotate(path).digest("study", "1.2.3") == before


def test_an_unknown_generation_is_refused(path):
    ring = key_file.create(path)
    for generation in (0, 2):
        with pytest.raises(ConfigurationError, match=f"no generation {generation}"):
            ring.of_generation(generation)


def test_a_running_process_takes_a_new_generation_up(path):
    key_file.create(path)
    running = KeyFile(path)
    assert running.newest_generation == 1
    new = key_file.rotate(path)
    assert running.newest_generation == 2
    assert running.vault_key(2) == new.of_generation(2).vault_key


def test_a_file_that_is_away_takes_nothing_from_who_runs(path):
    key = key_file.create(path).of_generation(1).vault_key
    running = KeyFile(path)
    path.rename(path.with_name("moved"))
    assert running.vault_key(1) == key
    path.write_text("damaged")
    assert running.vault_key(1) == key


def _die_at(path, step, call):
    """Rotate in a process that is killed just before the n-th call of a function of the system."""
    original, calls = getattr(os, step), itertools.count(1)

    def die(*arguments, **named):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(os, step, die)
    key_file.rotate(path)


@pytest.mark.parametrize(
    ("step", "call", "generations"), [("fsync", 1, 1), ("replace", 1, 1), ("unlink", 1, 2), ("fsync", 2, 2)]
)
def test_a_rotation_that_is_killed_leaves_the_old_file_or_the_new_one(path, step, call, generations):
    before = key_file.create(path)
    process = multiprocessing.get_context("fork").Process(target=_die_at, args=(path, step, call))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    loaded = key_file.load(path)
    assert loaded.newest == generations
    assert loaded.of_generation(1).vault_key == before.of_generation(1).vault_key
    assert key_file.rotate(path).newest == generations + 1
    assert names(path) == ["pseudonyms.key"]


def test_two_rotations_at_once_are_one(path):
    key_file.create(path)
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(ConfigurationError, match="another rotation"):
        key_file.rotate(path)
    os.close(folder)
    assert key_file.rotate(path).newest == 2


def test_repr_shows_no_key(path):
    ring = key_file.create(path)
    secret = json.loads(path.read_bytes())["keys"][0]["key"]
    assert repr(ring) == "KeyRing(<1 secrets>)"
    assert base64.b64decode(secret).hex() not in str(vars(ring))
