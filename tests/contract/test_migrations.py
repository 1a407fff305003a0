"""Each migration there and back with rows in the tables, and the upgrade of a database that is being worked on."""

import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from arriving import arrived

from covnode.clock import utc_now
from covnode.errors import ConfigurationError, TransientError
from covnode.home import Home
from covnode.records.job import AnalysisState, DeliveryState
from covnode.records.series import DeidentifiedSeries
from covnode.settings import Settings
from covnode.store import analyses, arrivals, deliveries, executors, series
from covnode.store.engine import make_engine, revisions
from covnode.store.sessions import transactions
from covnode.store.tables import Base, DeliveredObjectRow, IdentityRow
from covnode.store.upgrades import alembic_config, upgrade
from covnode.wiring.node import Node

pytestmark = pytest.mark.xdist_group("dbos")

KEPT = ("series", "instances", "analyses", "deliveries", "delivered_objects", "identities", "executors")


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def downgrade(engine, revision):
    command.downgrade(alembic_config(engine), revision)


def all_revisions(engine):
    """Return the revisions, the newest first."""
    return [each.revision for each in ScriptDirectory.from_config(alembic_config(engine)).walk_revisions()]


def differences(engine):
    ours = {"include_object": lambda _object, name, kind, *_: kind != "table" or name in Base.metadata.tables}
    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts=ours), Base.metadata)


def fill(engine):
    """Put a row into each table that every release has."""
    with transactions(engine)() as session:
        (series_id,) = arrivals.record(session, [arrived(1)], "amend", "here:receiver-0")
        session.flush()
        series.mark_complete(session, series_id, 1, "why", {"rule": "no_gap"})
        job = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
        delivery = deliveries.open_delivery(session, job.subject_id, "pacs")
        session.add(
            DeliveredObjectRow(
                delivery_id=delivery.subject_id, kind="sr", sop_instance_uid="2.25.1", status=0, sent_at=utc_now()
            )
        )
        session.add(IdentityRow(series_id=series_id, revision=1, sealed=b"sealed"))
        executors.beat(session, "here:worker-0", "worker")


def contents(engine):
    with engine.connect() as connection:
        return {
            table: sorted(map(str, connection.execute(sa.text(f"SELECT * FROM {table}")).mappings())) for table in KEPT
        }


def counts(engine):
    return {table: len(rows) for table, rows in contents(engine).items()}


def test_every_migration_goes_there_and_back_with_rows_in_the_tables(engine):
    fill(engine)
    for revision in all_revisions(engine)[1:]:
        downgrade(engine, revision)
        assert revisions(engine)[0] == revision
        assert counts(engine) == dict.fromkeys(KEPT, 1)
        upgrade(engine)
        assert differences(engine) == []
        assert counts(engine) == dict.fromkeys(KEPT, 1)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT file_name FROM instances")) == arrived(1).file_name
            assert connection.scalar(sa.text("SELECT state FROM analyses")) == AnalysisState.QUEUED


def test_a_file_of_the_first_release_is_found_again_after_the_way_back(engine):
    fill(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE instances SET file_name = series_id || '/c.dcm'"))
    before = contents(engine)["instances"]
    downgrade(engine, "0001")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT file_name FROM instances")) == "c.dcm"
    upgrade(engine)
    assert [row.split("'file_name'")[1][:30] for row in contents(engine)["instances"]] == [
        row.split("'file_name'")[1][:30] for row in before
    ]


def test_all_the_way_back_leaves_nothing_and_all_the_way_there_the_tables_of_the_code(engine):
    downgrade(engine, "base")
    assert not set(Base.metadata.tables) & set(sa.inspect(engine).get_table_names())
    upgrade(engine)
    assert differences(engine) == []


def test_foreign_keys_hold_after_a_migration(engine):
    downgrade(engine, "0001")
    upgrade(engine)
    orphan = "INSERT INTO identities (series_id, revision, sealed) VALUES ('none', 1, 'x')"
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.text(orphan))


def at(engine, revision):
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_a_release_works_on_what_a_newer_one_has_added_and_refuses_what_is_older_or_lacks_something(engine, tmp_path):
    url = engine.url.render_as_string(hide_password=False)
    node = Node(Home(tmp_path), Settings.model_validate({"database": {"url": url}}))
    node.require_current_database()
    at(engine, "0999")
    node.require_current_database()
    upgrade(engine)
    assert revisions(engine)[0] == "0999"
    at(engine, "1000")
    with pytest.raises(ConfigurationError, match="newer release"):
        node.require_current_database()
    with pytest.raises(ConfigurationError, match="newer release"):
        upgrade(engine)
    at(engine, "0001")
    with pytest.raises(ConfigurationError, match="covnode db upgrade"):
        node.require_current_database()


class Worked(threading.Thread):
    """A node of the release at revision 0004, by the statements that it made: it reads and writes all the time."""

    def __init__(self, engine, number):
        super().__init__(daemon=True)
        self._transaction = transactions(engine)
        self._number = number
        self._stopping = threading.Event()
        self.done = self.failed = 0
        self.longest_s = 0.0

    def run(self):
        while not self._stopping.is_set():
            started_s = time.monotonic()
            try:
                self._series(f"{self._number}-{self.done}")
                self.done += 1
            except TransientError:  # as the node itself: rolled back and tried again
                self.failed += 1
            self.longest_s = max(self.longest_s, time.monotonic() - started_s)

    def _series(self, name):
        now = "2026-01-01 00:00:00"
        with self._transaction() as session:
            for statement in (
                "INSERT INTO series (series_id, series_digest, state, revision, received_at, last_instance_at,"
                " state_at, instance_count, source_ae_title, intake_attempts) VALUES (:name, :name, 'receiving', 1,"
                " :now, :now, :now, 1, 'CT', 0)",
                "INSERT INTO instances (series_id, sop_digest, content_digest, file_name, size_bytes, sop_class_uid,"
                " transfer_syntax_uid, received_at) VALUES (:name, :name, :name, :name, 1, '1', '1', :now)",
                "INSERT INTO analyses (analysis_id, series_id, revision, state, input_sha256, attempts, fence,"
                " enqueues, progress_percent, queued_at, state_at) VALUES (:name, :name, 1, 'queued', 'x', 0, 0, 1, 0,"
                " :now, :now)",
                "INSERT INTO deliveries (delivery_id, analysis_id, destination, state, attempts, enqueues, queued_at,"
                " state_at) VALUES (:name, :name, 'pacs', 'queued', 0, 1, :now, :now)",
                "UPDATE analyses SET state = 'analysed', attempts = attempts + 1 WHERE analysis_id = :name",
                "UPDATE deliveries SET state = 'delivered' WHERE delivery_id = :name",
                "UPDATE series SET state = 'handed_over' WHERE series_id = :name AND state = 'receiving'",
            ):
                session.execute(sa.text(statement), {"name": name, "now": now})

    def stop(self):
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()


def wait_for(condition, timeout_s=60):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_node_of_the_release_before_goes_on_working_while_the_tables_are_upgraded(engine, record_property):
    downgrade(engine, "0004")
    workers = [Worked(engine, number) for number in range(4)]
    for worker in workers:
        worker.start()
    wait_for(lambda: all(worker.done > 20 for worker in workers))
    started_s = time.monotonic()
    upgrade(engine)
    took_s = time.monotonic() - started_s
    done_then = [worker.done for worker in workers]
    wait_for(lambda: all(worker.done > done + 20 for worker, done in zip(workers, done_then, strict=True)))
    for worker in workers:
        worker.stop()
    made = sum(worker.done for worker in workers)
    longest_s = max(worker.longest_s for worker in workers)
    figures = {"upgrade_s": round(took_s, 2), "longest_pause_s": round(longest_s, 2), "series": made}
    print(engine.dialect.name, figures)  # noqa: T201 (what a run with -s is for)
    record_property("upgrade under load", figures)
    assert longest_s < 5.0
    assert differences(engine) == []
    with engine.connect() as connection:
        for table, state in (
            ("series", "handed_over"),
            ("analyses", AnalysisState.ANALYSED),
            ("deliveries", DeliveryState.DELIVERED),
        ):
            assert connection.scalar(sa.text(f"SELECT count(*) FROM {table} WHERE state = '{state}'")) == made


def test_a_table_that_somebody_holds_for_long_holds_up_the_upgrade_and_nobody_else(engine):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one lock for all")
    downgrade(engine, "0004")
    upgrading = threading.Thread(target=upgrade, args=(engine,))
    with engine.connect() as report:
        report.execute(sa.text("SELECT count(*) FROM analyses"))  # an open transaction of whoever makes a report
        upgrading.start()
        longest_s, until_s = 0.0, time.monotonic() + 4.0
        while time.monotonic() < until_s:
            started_s = time.monotonic()
            with engine.connect() as other:
                other.execute(sa.text("SELECT count(*) FROM analyses"))
            longest_s = max(longest_s, time.monotonic() - started_s)
        assert revisions(engine)[0] == "0004"
    upgrading.join(30)
    assert not upgrading.is_alive()
    assert revisions(engine)[0] == revisions(engine)[1]
    assert longest_s < 2.5


UPGRADE = """
import sys
from covnode.store.engine import make_engine
from covnode.store.upgrades import upgrade
upgrade(make_engine(sys.argv[1]))
"""


def test_an_index_is_built_while_others_write_and_anew_where_an_upgrade_died_over_it(engine):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one lock for all")
    downgrade(engine, "0005")
    is_valid = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_series_received_at')")

    def asked(question):
        with engine.connect() as connection:
            return connection.execute(sa.text(question) if isinstance(question, str) else question).scalars().all()

    command_line = [sys.executable, "-c", UPGRADE, engine.url.render_as_string(hide_password=False)]
    with engine.connect() as writes:
        writes.execute(sa.text("UPDATE series SET state = state"))  # what the index waits for
        upgrading = subprocess.Popen(command_line, stderr=subprocess.DEVNULL)
        wait_for(lambda: asked(is_valid) == [False])
        with engine.begin() as writer:
            writer.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
            writer.execute(sa.text("LOCK TABLE series IN ROW EXCLUSIVE MODE"))
        asked(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname = current_database()"
        )
        assert upgrading.wait(60) != 0
        assert asked(is_valid) == [False]
    upgrade(engine)
    assert differences(engine) == []
    assert asked("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [0]


def test_two_upgrades_at_once_make_one(engine):
    downgrade(engine, "0001")
    command_line = [sys.executable, "-c", UPGRADE, engine.url.render_as_string(hide_password=False)]
    running = [subprocess.Popen(command_line) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert differences(engine) == []
