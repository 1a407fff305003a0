"""What is no whole backup is never taken for one, and what is not as it was is never restored."""

import json
from dataclasses import replace

import pytest
from kept_node import Kept
from processes import covnode

from covnode.cli.settings_file import default_document, write_document
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.wiring import backup
from covnode.wiring.backup import Backup, make_backup


def quietly(_done, _of):
    """Show no progress."""


@pytest.fixture
def kept(tmp_path, database_url):
    kept = Kept(tmp_path / "home", database_url)
    write_document(kept.node.home, default_document(kept.node.settings))
    kept.delivered()
    yield kept
    kept.node.engine.dispose()


@pytest.fixture
def made(tmp_path, kept):
    make_backup(kept.node, tmp_path / "backup", quietly)
    return Backup.at(tmp_path / "backup")


def test_what_lasts_no_longer_than_a_process_is_left_out(kept, tmp_path):
    home = kept.node.home
    home.scratch.mkdir()
    for path in (home.locks / "worker.lock", home.scratch / "x", home.incoming / "x", home.root / "of-the-site.pem"):
        path.write_bytes(b"x")
    draft = home.deidentified / ".ser-1-r1.draft"
    draft.mkdir()
    (draft / "00001.dcm").write_bytes(b"x")
    made = make_backup(kept.node, tmp_path / "backup", quietly)
    tops = {name.split("/")[1] for name in made.files if name.startswith("home/")}
    assert tops == {"covnode.toml", "deidentified", "keys", "of-the-site.pem", "outbox", "results", "spool"}
    assert not [name for name in made.files if "incoming" in name or "draft" in name]


def test_folders_of_images_that_lie_elsewhere_come_back_into_the_home(kept, tmp_path):
    home, shared = kept.node.home, tmp_path / "shared"
    shared.mkdir()
    for name in ("spool", "deidentified", "results", "outbox"):
        getattr(home, name).rename(shared / name)
    node = replace(kept.node, home=home.with_files(str(shared)))
    (node.home.incoming / "x").write_bytes(b"x")
    made = make_backup(node, tmp_path / "backup", quietly)
    tops = [name.split("/")[1] for name in made.files if name.startswith("home/")]
    assert (tops.count("spool"), tops.count("results")) == (3, 1)
    Backup.at(tmp_path / "backup").verify(quietly)


def change(path):
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize("damage", [change, lambda path: path.unlink()])
@pytest.mark.parametrize("what", ["covnode.db", "home/keys/pseudonyms.key", "home/spool/*/*.dcm"])
def test_a_file_that_differs_or_is_missing_is_named(made, what, damage):
    path = max(made.folder.glob(what))
    damage(path)
    with pytest.raises(ConfigurationError, match=f"1 of .* damaged, such as {path.relative_to(made.folder)}: nothing"):
        made.verify(quietly)


def test_nothing_is_written_before_everything_is_verified(made, tmp_path):
    change(max(made.folder.glob("home/spool/*/*.dcm")))
    done = covnode("restore", str(made.folder), "--home", str(tmp_path / "new"))
    assert (done.returncode, "nothing was restored" in done.stderr) == (1, True)
    assert not (tmp_path / "new").exists()


def without(made, key):
    values = json.loads((made.folder / "manifest.json").read_text())
    del values[key]
    return json.dumps(values)


BAD = {
    "truncated": lambda made: (made.folder / "manifest.json").read_text()[:-20],
    "lacks a field": lambda made: without(made, "revision"),
    "another format": lambda made: (made.folder / "manifest.json").read_text().replace('"format":1', '"format":2'),
    "leads outside": lambda made: (made.folder / "manifest.json").read_text().replace("home/keys/", "../keys/"),
    "leads to the root": lambda made: (made.folder / "manifest.json").read_text().replace("home/keys/", "/keys/"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_manifest_is_refused(made, bad):
    (made.folder / "manifest.json").write_text(BAD[bad](made))
    with pytest.raises(ConfigurationError):
        Backup.at(made.folder)


def test_a_backup_that_is_killed_has_no_name_and_the_next_one_clears_it_away(kept, tmp_path, monkeypatch):
    out, partial = tmp_path / "backup", tmp_path / ".backup.partial"

    class Killed(BaseException):
        """The process ends here."""

    def die(*_arguments, **_options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(backup, "_sync_folders", die)
        patch.setattr(backup.shutil, "rmtree", lambda *_arguments, **_options: None)  # nobody clears up behind a kill
        with pytest.raises(Killed):
            make_backup(kept.node, out, quietly)
    assert partial.exists()
    assert not out.exists()
    make_backup(kept.node, out, quietly)
    Backup.at(out).verify(quietly)
    assert not partial.exists()


def test_a_disk_that_is_too_small_is_told_before_it_is_filled(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "free_gb", lambda _path: 100 / 1e9)
    with pytest.raises(ConfigurationError, match=r"needs 0\.0 GB, and its disk has 0\.0 GB free"):
        make_backup(kept.node, tmp_path / "backup", quietly)
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "covnode.db", "covnode.db-shm", "covnode.db-wal"}


def test_where_a_backup_or_a_home_may_not_lie_is_refused(made, kept, tmp_path):
    for out, why in {
        made.folder: "exists already",
        tmp_path / "none" / "backup": "make it first",
        kept.node.home.root / "backup": "lies in the node's folder",
    }.items():
        with pytest.raises(ConfigurationError, match=why):
            make_backup(kept.node, out, quietly)
    with pytest.raises(ConfigurationError, match="is no whole backup"):
        Backup.at(tmp_path)
    with pytest.raises(ConfigurationError, match="is not empty"):
        made.restore(kept.node.home, kept.node.settings, quietly)
    backup.check_empty(Home(tmp_path / "new"))
