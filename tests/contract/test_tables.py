"""The same tables and clocks on both databases."""

import os
import signal
import socket
import subprocess
import sys
import time
import traceback

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from covnode.errors import RowExists, RowRefused, TransientError
from covnode.store import executors
from covnode.store.engine import make_engine, revisions
from covnode.store.sessions import transactions
from covnode.store.tables import Base
from covnode.store.upgrades import alembic_config, upgrade

pytestmark = pytest.mark.xdist_group("dbos")


def test_the_migrations_make_exactly_the_tables_of_the_code(database_url):
    engine = make_engine(database_url)
    current, newest = revisions(engine)
    assert current == newest
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": lambda _object, name, kind, *_: kind != "table" or name in Base.metadata.tables},
        )
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_twice_changes_nothing(database_url):
    engine = make_engine(database_url)
    before = revisions(engine)
    upgrade(engine)
    assert revisions(engine) == before


def test_an_executor_is_silent_only_after_its_heartbeats_stop(transaction):
    with transaction() as session:
        executors.beat(session, "host:worker-0", "worker")
        assert executors.silent(session, 5.0, "sender") == []
        assert executors.silent(session, -1.0, "sender") == ["host:worker-0"]
        assert [row.role for row in executors.living(session, 5.0)] == ["worker"]
        executors.forget(session, "host:worker-0")
        assert executors.silent(session, -1.0, "sender") == []


def test_a_receiver_is_stood_in_for_by_receivers_alone_and_whoever_runs_jobs_by_all_others(transaction):
    with transaction() as session:
        for role in ("worker", "sender", "receiver"):
            executors.beat(session, f"host:{role}-0", role)
        assert executors.silent(session, -1.0, "receiver") == ["host:receiver-0"]
        assert sorted(executors.silent(session, -1.0, "worker")) == ["host:sender-0", "host:worker-0"]


KILLED_UPGRADE = """
import os, signal, sys
import sqlalchemy as sa
from covnode.store.engine import make_engine
from covnode.store.upgrades import upgrade

engine = make_engine(sys.argv[1])

@sa.event.listens_for(engine, "before_cursor_execute")
def _die(_connection, _cursor, statement, *_rest):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(engine)
"""


def test_an_upgrade_that_is_killed_half_way_is_done_by_the_next_one(database_url):
    """The database of the release before, with an instance in it."""
    engine = make_engine(database_url)
    Base.metadata.drop_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE alembic_version"))
    command.upgrade(alembic_config(engine), "0001")
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO series (series_id, series_digest, state, revision, received_at, last_instance_at,"
                " state_at, instance_count, source_ae_title, intake_attempts) VALUES ('ser-1', 'd', 'handed_over', 1,"
                " '2026-01-01', '2026-01-01', '2026-01-01', 1, 'CT', 0)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO instances (series_id, sop_digest, content_sha256, file_name, size_bytes, sop_class_uid,"
                " transfer_syntax_uid, received_at) VALUES ('ser-1', 's', 'c', 'c.dcm', 1, '1', '1', '2026-01-01')"
            )
        )
    engine.dispose()
    for step in ("ix_series_study_id", "UPDATE instances", "UPDATE alembic_version"):
        killed = subprocess.run([sys.executable, "-c", KILLED_UPGRADE, database_url, step], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert revisions(engine)[0] == "0001"
    upgrade(engine)
    assert len(set(revisions(engine))) == 1
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT file_name FROM instances")) == "ser-1/c.dcm"
    assert Base.metadata.tables.keys() <= set(sa.inspect(engine).get_table_names())


def use(engine, statement="SELECT 1", **values):
    with transactions(engine)() as session:
        session.execute(sa.text(statement), values)


BEAT = "INSERT INTO executors (executor_id, role, beat_at_s) VALUES (:name, 'worker', 1)"


def test_a_row_that_is_there_already_is_no_fault_of_the_database(database_url):
    engine = make_engine(database_url)
    use(engine, BEAT, name="a")
    with pytest.raises(RowExists):
        use(engine, BEAT, name="a")


def test_whatever_keeps_the_database_from_working_is_tried_again(database_url):
    engine = make_engine(database_url)
    if engine.dialect.name == "postgresql":
        name = engine.url.database
        broken = (
            (f"ALTER DATABASE {name} SET default_transaction_read_only = on", "ReadOnlySqlTransaction"),
            (f"ALTER DATABASE {name} RESET default_transaction_read_only", None),
            ("CREATE ROLE stranger LOGIN", "InsufficientPrivilege"),
        )
    else:
        broken = (("", "DatabaseError"),)
    for statement, error in broken:
        if statement:
            with engine.begin() as connection:
                connection.execute(sa.text("SET TRANSACTION READ WRITE"))
                connection.execute(sa.text(statement))
        engine.dispose()
        url = engine.url
        if error == "InsufficientPrivilege":
            url = url.set(username="stranger")
        if error == "DatabaseError":
            with open(url.database, "r+b") as file:  # noqa: PTH123 (a file that is overwritten in place)
                file.write(b"x" * 4096)
        again = make_engine(url.render_as_string(hide_password=False))
        if error is None:
            use(again, BEAT, name="b")
            continue
        with pytest.raises(TransientError, match=rf"\({error}\)$"):
            use(again, BEAT, name="JANE DOE")
        again.dispose()


def test_an_error_of_the_database_never_quotes_the_values_of_its_statement(database_url):
    engine = make_engine(database_url)
    patient = "JANE DOE"  # on a line of its own, which no traceback shows
    with pytest.raises(TransientError) as error:
        use(engine, "INSERT INTO no_table VALUES (:name)", name=patient)
    assert "JANE" not in "".join(traceback.format_exception(error.value))
    # PostgreSQL's driver quotes the statement itself.
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as raw:
            connection.execute(sa.text("INSERT INTO no_table VALUES (:name)"), {"name": "JANE DOE"})
        assert "JANE" not in str(raw.value)


def test_a_row_that_the_database_cannot_hold_is_not_tried_again(database_url):
    engine = make_engine(database_url)
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite holds any value in any column")
    with pytest.raises(RowRefused, match=r"\(InvalidTextRepresentation\)$"):
        use(engine, "INSERT INTO executors (executor_id, role, beat_at_s) VALUES ('a', 'b', :name)", name="JANE DOE")


def test_a_connection_to_postgresql_gives_a_vanished_host_up(database_url):
    engine = make_engine(database_url)
    if engine.dialect.name == "sqlite":
        pytest.skip("a file does not vanish")
    with engine.connect() as connection:
        descriptor = os.dup(connection.connection.driver_connection.fileno())
        with socket.socket(fileno=descriptor) as wire:
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
    patient = make_engine(f"{database_url}?tcp_user_timeout=60000")
    with patient.connect() as connection:
        said = connection.connection.driver_connection.info.dsn_parameters
        assert (said["tcp_user_timeout"], said["connect_timeout"]) == ("60000", "5")


def test_a_database_that_takes_the_connection_and_says_nothing_is_away_after_five_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = make_engine(f"postgresql+psycopg2://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        since_s = time.monotonic()
        with pytest.raises(TransientError):
            use(engine)
        assert 4 < time.monotonic() - since_s < 9


def test_a_database_that_is_away_is_a_transient_error():
    away = transactions(make_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none"))

    def use():
        with away() as session:
            executors.silent(session, 1.0, "worker")

    with pytest.raises(TransientError):
        use()
