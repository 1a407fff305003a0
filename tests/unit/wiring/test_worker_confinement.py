"""The worker tries to read what identifies a patient, as the very code that runs in it could, and the kernel refuses.

Each confinement is for ever, so each is made in a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from covnode.deidentify import key_file
from covnode.home import Home
from covnode.settings import Settings
from covnode.store.engine import make_engine
from covnode.store.upgrades import upgrade
from covnode.wiring import confinement, landlock
from covnode.wiring.node import Node

pytestmark = pytest.mark.skipif(not landlock.version(), reason="the kernel has no Landlock")

CONFINED = """
import json, os, shutil, subprocess, sys, tempfile
from pathlib import Path
from covnode.home import Home
from covnode.settings import Settings
from covnode.wiring.confinement import confine
from covnode.wiring.node import Node

home = Home(Path(sys.argv[1]))
node = Node(home, Settings.model_validate({"database": {"url": f"sqlite:///{home.root}/covnode.db"}}))
node.engine.connect().close()
subprocess.run(["true"], check=True)
if sys.argv[2] == "ordinary":
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
confine(node, 0)

def tried(act):
    try:
        return act()
    except OSError as error:
        return error.strerror

def outcome(act):
    return "done" if (said := tried(act)) is None or isinstance(said, bytes | int) else said

secret = sys.argv[3:]
key = str(home.keys)
answers = {
    "read": [outcome(lambda path=path: Path(path).read_bytes()) for path in secret],
    "child": [
        subprocess.run(["cat", path], capture_output=True, text=True).stderr.strip() for path in secret
    ],
    "move": outcome(lambda: os.rename(key, home.models / "key")),
    "link": outcome(lambda: os.link(key, home.models / "key")),
    "move folder": outcome(lambda: os.rename(home.keys.parent, home.models / "keys")),
    "rename": outcome(lambda: os.rename(home.keys.parent, home.root / "k")),
    "by new name": outcome(lambda: Path(home.root, "k", home.keys.name).read_bytes()),
    "by proc": outcome(lambda: Path(f"/proc/self/root{home.root}/k/{home.keys.name}").read_bytes()),
    "parent": outcome(lambda: open(f"/proc/{os.getppid()}/mem", "rb").close()),
}
os.rename(home.root / "k", home.keys.parent)
print(json.dumps(answers))
"""


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o700)
    for folder in home.folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file.create(home.keys)
    home.config.write_text("# secrets may stand here")
    (home.spool / "series-1").mkdir()
    (home.spool / "series-1" / "a.dcm").write_bytes(b"identity")
    (home.outbox / "sr.dcm").write_bytes(b"identity")
    engine = make_engine(f"sqlite:///{home.root}/covnode.db")
    upgrade(engine)
    engine.dispose()
    return home


def secrets_of(home):
    return [home.keys, home.spool / "series-1" / "a.dcm", home.outbox / "sr.dcm", home.config]


def confined(home, script, *arguments):
    """Run a script in a process that has confined itself; return what it printed last, as JSON."""
    command = [sys.executable, "-c", script, str(home.root), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_refused(home, answers):
    assert answers["read"] == ["Permission denied"] * 4
    assert answers["child"] == [f"cat: {each}: Permission denied" for each in secrets_of(home)]
    # No move or link takes a file to where it could be read; a new name for the folder does not help.
    assert answers["move"] == answers["link"] == answers["move folder"] == "Invalid cross-device link"
    assert answers["rename"] == "done"
    assert answers["by new name"] == answers["by proc"] == "Permission denied"
    # The receiver, which has the keys in its memory, cannot be looked into.
    assert answers["parent"] == "Permission denied"


def test_neither_the_worker_nor_its_children_read_a_key_an_original_or_a_restored_result(home):
    assert all(path.read_bytes() for path in secrets_of(home))
    assert_refused(home, confined(home, CONFINED, "same", *secrets_of(home)))


def test_the_same_as_an_ordinary_user(home, tmp_path):
    """Root keeps its other rights; the node's user has none."""
    if os.geteuid() != 0:
        pytest.skip("the test above ran as one")
    place = Path(tmp_path.anchor, "var", "tmp", f"covnode-{os.getpid()}")
    shutil.copytree(home.root, place)
    try:
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534)
        moved = Home(place)
        assert_refused(moved, confined(moved, CONFINED, "ordinary", *secrets_of(moved)))
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("moved", ["spool", "outbox", "keys"])
def test_a_folder_that_is_a_link_to_another_disk_is_closed_there(home, tmp_path, moved):
    elsewhere = tmp_path / "disk" / moved
    elsewhere.parent.mkdir()
    (home.root / moved).rename(elsewhere)
    (home.root / moved).symlink_to(elsewhere)
    shortcut = tmp_path / "shortcut"
    shortcut.symlink_to(elsewhere)
    script = """
import json, sys
from pathlib import Path
from covnode.home import Home
from covnode.settings import Settings
from covnode.wiring.confinement import confine
from covnode.wiring.node import Node
home = Home(Path(sys.argv[1]))
confine(Node(home, Settings.model_validate({"database": {"url": f"sqlite:///{home.root}/covnode.db"}})), 0)
said = []
for path in sys.argv[2:]:
    try:
        said.append(str(Path(path).read_bytes()))
    except OSError as error:
        said.append(error.strerror)
print(json.dumps(said))
"""
    (elsewhere / "secret").write_text("x")
    ways = (home.root / moved / "secret", elsewhere / "secret", shortcut / "secret")
    assert confined(home, script, *ways) == ["Permission denied"] * 3


WORKING = """
import json, multiprocessing, os, sys, tempfile
from pathlib import Path
import sqlalchemy as sa
from covnode.home import Home
from covnode.settings import Settings
from covnode.store.sessions import transactions
from covnode.wiring.confinement import confine
from covnode.wiring.node import Node

home = Home(Path(sys.argv[1]))
node = Node(home, Settings.model_validate({"database": {"url": f"sqlite:///{home.root}/covnode.db"}}))
confine(node, 0)
node.engine.dispose()  # every pooled connection: SQLite would make its files anew now
done = []
with node.transaction() as session:
    session.execute(sa.text("INSERT INTO executors VALUES ('a', 'worker', 1)"))
with node.transaction() as session:
    done.append(session.scalar(sa.text("SELECT count(*) FROM executors")))
for folder in (home.deidentified, home.results, home.models):
    (folder / "draft").mkdir()
    (folder / "draft" / "new").write_text("new")
    (folder / "draft").rename(folder / "final")
    done.append((folder / "final" / "new").read_text())
os.rename(home.results / "final", home.models / "moved")
done.append((home.models / "moved" / "new").read_text())
with tempfile.TemporaryDirectory() as scratch:
    Path(scratch, "x").write_text("temporary")
    done.append(Path(scratch, "x").read_text())
    done.append(Path(scratch).is_relative_to(home.root))
done.append(Path("/proc/self/status").read_text()[:5])
done.append(len(Path("/dev/urandom").open("rb").read(8)))
with multiprocessing.get_context("spawn").Pool(1) as pool:
    done.append(pool.apply(len, ("abc",)))
print(json.dumps(done))
"""


def test_the_worker_goes_on_to_work(home, tmp_path):
    """Beside its own folders: a database that others close, temporary files, children, devices."""
    script = tmp_path / "working.py"
    script.write_text("if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in WORKING.splitlines()))
    command = [sys.executable, str(script), str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1, *["new"] * 4, "temporary", True, "Name:", 8, 3]


def test_a_program_inside_the_home_can_be_read_and_a_folder_around_the_keys_never(home, monkeypatch):
    (home.root / "venv").mkdir()
    monkeypatch.setattr(sys, "path", [str(home.root), str(home.root / "venv"), str(home.keys.parent), "/"])
    yielded = set(confinement.readable(home, []))
    assert home.root / "venv" in yielded
    secret = {home.keys.parent, home.spool, home.outbox, home.config}
    assert not [path for path in yielded for each in secret if each.is_relative_to(path) or path.is_relative_to(each)]


def test_without_landlock_the_worker_says_so_once_and_works(home, monkeypatch, capsys):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    confinement.confine(Node(home, Settings()), 0)
    said = capsys.readouterr().out
    assert said.count("worker_not_confined") == 1
    assert home.keys.read_bytes()
