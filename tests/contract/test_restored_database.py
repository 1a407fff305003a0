"""A backup of a node and its restoration, on both databases."""

import itertools
import json

import pytest
import sqlalchemy as sa
from engine_jobs import without_job
from kept_node import Kept
from processes import covnode

from covnode.cli.settings_file import default_document, write_document
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.records.job import DeliveryState, Job, JobKind, SeriesState
from covnode.store import deliveries, snapshot
from covnode.store.engine import make_engine
from covnode.store.tables import AuditRow, Base
from covnode.wiring.node import open_node
from covnode.wiring.retention import lock_of

pytestmark = pytest.mark.xdist_group("dbos")

_numbers = itertools.count()


@pytest.fixture
def kept(tmp_path, database_url):
    kept = Kept(tmp_path / "home", database_url)
    write_document(kept.node.home, default_document(kept.node.settings))
    yield kept
    kept.node.engine.dispose()


@pytest.fixture
def elsewhere(request, tmp_path, kept):
    """Return the options of a restoration into another home, and a database of its own."""
    options = ["--home", str(tmp_path / "elsewhere")]
    if kept.node.engine.dialect.name == "postgresql":
        url = request.getfixturevalue("postgresql").create_database(f"restored{next(_numbers)}")
        options += ["--database-url", url]
    return options


def rows_of(node):
    tables = Base.metadata.tables.items()
    with node.engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(sa.select(table)))) for name, table in tables}


def bytes_of(home):
    places = (home.spool, home.deidentified, home.results, home.outbox, home.keys.parent)
    return {
        (path.relative_to(home.root), path.read_bytes(), path.stat().st_mtime_ns)
        for place in places
        for path in place.rglob("*")
        if path.is_file() and path.parent != home.incoming and path != lock_of(home)
    }


def test_a_restored_node_has_every_row_file_and_job(tmp_path, kept, elsewhere):
    kept.delivered(1)
    kept.series(2, SeriesState.RECEIVING)
    with kept.node.transaction() as session:
        job = deliveries.open_delivery(session, kept.analysis(kept.series(3)), "pacs")
        kept.node.queue.enqueue(session, job)
    made = covnode("backup", str(tmp_path / "backup"), "--home", str(kept.node.home.root), "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["files"] > 9
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "backup", *(tmp_path / "backup").rglob("*"))}
    assert modes == {0}

    restored = covnode("restore", str(tmp_path / "backup"), *elsewhere, "--json")
    assert restored.returncode == 0, restored.stderr
    node = open_node(Home(tmp_path / "elsewhere"))
    assert node.engine.url != kept.node.engine.url
    assert node.settings.database.worker_url == ""
    assert rows_of(node) == rows_of(kept.node)
    assert bytes_of(node.home) == bytes_of(kept.node.home)
    with node.transaction() as session:
        none = Job(JobKind.DELIVERY, "del-none")
        assert without_job(session, node.queue, [job, none]) == [none]
        held = deliveries.claim(session, job.subject_id, 1, "here")
        deliveries.mark_ended(session, held, DeliveryState.DELIVERED)
    with node.engine.begin() as connection:
        connection.execute(sa.insert(AuditRow).values(**AUDIT))
    with node.engine.begin() as connection, pytest.raises(sa.exc.DBAPIError):
        connection.execute(sa.delete(AuditRow))
    node.engine.dispose()


AUDIT = {
    "at": sa.func.current_timestamp(),
    "actor": "a",
    "action": "lookup",
    "subjects": [],
    "reason": "r",
    "outcome": "done",
    "identities": 1,
}


def test_a_database_that_is_in_use_is_not_restored_into(tmp_path, kept):
    if kept.node.engine.dialect.name == "sqlite":
        pytest.skip("it lies in the home, which must be empty")
    made = covnode("backup", str(tmp_path / "backup"), "--home", str(kept.node.home.root))
    assert made.returncode == 0, made.stderr
    refused = covnode("restore", str(tmp_path / "backup"), "--home", str(tmp_path / "elsewhere"))
    assert refused.returncode == 1
    assert "the database holds the tables of a node: name an empty one by --database-url" in refused.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_program_is_named_with_the_way_out(tmp_path, database_url, monkeypatch):
    engine = make_engine(database_url)
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite needs no program")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="pg_dump is not installed: install PostgreSQL's client programs"):
        snapshot.take(engine, tmp_path / "dump")


def test_a_database_that_cannot_be_copied_is_an_error_without_a_traceback(tmp_path, database_url):
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
    if engine.dialect.name == "sqlite":
        engine.dispose()
        with open(engine.url.database, "r+b") as file:  # noqa: PTH123 (a file that is overwritten in place)
            file.seek(4096)
            file.write(b"x" * 8192)
    else:
        engine = make_engine(str(engine.url.set(database="none").render_as_string(hide_password=False)))
    with pytest.raises(ConfigurationError):
        snapshot.take(engine, tmp_path / "dump")
