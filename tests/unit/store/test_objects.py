"""Folders in an S3 server: whole, as they were put there, or not at all; and what a person is told when it fails."""

import sys

import obstore
import pytest
from moto.core import set_initial_no_auth_action_count
from object_store_server import ACCESS_KEY, SECRET_KEY, ObjectStoreServer

from covnode.errors import ConfigurationError, StoreAway, TransientError
from covnode.sections import ObjectsSettings
from covnode.store.objects import ObjectStore

FILES = {"a.dcm": b"a" * 3000, "b.dcm": b"b" * (6 << 20), "empty.json": b""}


@pytest.fixture(scope="module")
def running():
    server = ObjectStoreServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(running):
    running.make_bucket()
    yield running
    running.forget()


@pytest.fixture
def open_store(server, tmp_path):
    """Return a function that opens the store with the server's settings, some of them changed."""
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )

    def open_store(**changed):
        values = {**server.settings, "credentials_file": "credentials", **changed}
        return ObjectStore(ObjectsSettings.model_validate(values), tmp_path)

    return open_store


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_comes_back_as_it_was_put_there(store, made, tmp_path):
    place = store.upload(made, "ser-1/r1", "here")
    store.fetch(place, tmp_path / "cache" / "one")
    assert content_of(tmp_path / "cache" / "one") == FILES
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["one"]


def test_the_manifest_comes_last_and_a_half_upload_is_not_taken(store, server, made, tmp_path, monkeypatch):
    put, order = obstore.put, []

    def cut_off(which, key, content):
        order.append(key.rpartition("/")[2])
        if order[-1] == "manifest.json":
            raise obstore.exceptions.GenericError("error sending request")
        return put(which, key, content)

    monkeypatch.setattr(obstore, "put", cut_off)
    with pytest.raises(StoreAway):
        store.upload(made, "ser-1/r1", "here")
    assert sorted(order[:-1]) == sorted(FILES)
    (place,) = {key.rpartition("/")[0] for key in server.keys}
    with pytest.raises(TransientError, match="not whole"):
        store.fetch(place, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"a" * 2999 + b"x", None])
def test_what_was_changed_or_removed_since_is_not_taken(damage, store, server, made, tmp_path):
    place = store.upload(made, "ser-1/r1", "here")
    if damage is None:
        obstore.delete(server.store, [f"{place}/a.dcm"])
    else:
        obstore.put(server.store, f"{place}/a.dcm", damage)
    with pytest.raises(TransientError) as refused:
        store.fetch(place, tmp_path / "cache")
    assert not isinstance(refused.value, StoreAway)
    assert not (tmp_path / "cache").exists()


def test_another_manifest_is_not_taken_though_it_fits_the_files(store, server, made, tmp_path):
    place = store.upload(made, "ser-1/r1", "here")
    (made / "a.dcm").write_bytes(b"of somebody else")
    other = store.upload(made, "ser-1/r1", "here")
    for name in ("a.dcm", "manifest.json"):
        obstore.put(server.store, f"{place}/{name}", bytes(obstore.get(server.store, f"{other}/{name}").bytes()))
    with pytest.raises(TransientError, match="not what was put there"):
        store.fetch(place, tmp_path / "cache")


def test_two_writers_do_not_touch_each_other_and_the_one_that_is_recorded_stays(store, server, made, tmp_path):
    mine, other = (store.upload(made, "ser-1/r1", writer) for writer in ("here", "there"))
    of_another_series = store.upload(made, "ser-10/r1", "here")
    store.remove("ser-1/r1", but=mine)
    store.fetch(mine, tmp_path / "cache")
    with pytest.raises(TransientError):
        store.fetch(other, tmp_path / "other")
    assert store.size_bytes("ser-1") > 6 << 20
    store.remove("ser-1")
    assert store.size_bytes("ser-1") == 0
    assert {key.rpartition("/")[0] for key in server.keys} == {of_another_series}


def test_the_probe_leaves_nothing(store, server):
    store.probe("here")
    store.require()
    assert server.keys == []


def test_a_store_that_does_not_answer_is_away_and_comes_back(store, server, made):
    server.stop()
    try:
        for step in (store.require, lambda: store.probe("here"), lambda: store.upload(made, "ser-1/r1", "here")):
            with pytest.raises(StoreAway, match="does not answer"):
                step()
    finally:
        server.start()
    store.upload(made, "ser-1/r1", "here")


def test_a_bucket_that_is_missing_is_named_as_the_cause(open_store):
    store = open_store(url="s3://no-such-bucket/node")
    for step in (store.require, lambda: store.probe("here")):
        with pytest.raises(StoreAway, match="no such bucket: make it"):
            step()


def test_credentials_that_are_refused_are_named_as_the_cause_and_never_quoted(store):
    @set_initial_no_auth_action_count(0)
    def probed():
        with pytest.raises(StoreAway) as refused:
            store.probe("here")
        return str(refused.value)

    said = probed()
    assert "refuses the credentials (InvalidAccessKeyId): see objects.credentials_file" in said
    assert ACCESS_KEY not in said
    assert SECRET_KEY not in said


@pytest.mark.parametrize("content", ["", f"[other]\naws_access_key_id={SECRET_KEY}", SECRET_KEY, "[default]\na=b"])
def test_a_file_of_credentials_without_any_is_refused_and_not_quoted(content, open_store, tmp_path):
    (tmp_path / "bad").write_text(content)
    with pytest.raises(
        ConfigurationError, match=r"objects\.credentials_file: .* has no section \[default\]"
    ) as refused:
        open_store(credentials_file="bad")
    assert SECRET_KEY not in str(refused.value)


def test_files_that_are_missing_are_named_with_their_setting(open_store):
    with pytest.raises(ConfigurationError, match=r"objects\.credentials_file: .*none cannot be read"):
        open_store(credentials_file="none")
    with pytest.raises(ConfigurationError, match=r"objects\.ca: .*none cannot be read"):
        open_store(ca="none")


def test_a_missing_package_is_named_with_its_extra(open_store, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'covnode\[s3\]'"):
        open_store()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"url": "s3://b", "endpoint_url": "http://store.example:9000"}, "not HTTPS"),
        ({"url": "s3://b", "endpoint_url": "https://user:secret@store.example"}, "endpoint_url"),
        ({"url": "https://store.example/b"}, "url"),
        ({"url": "s3://key:secret@b"}, "url"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values, told):
    with pytest.raises(ValueError, match=told):
        ObjectsSettings.model_validate(values)
