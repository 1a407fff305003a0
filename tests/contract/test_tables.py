"""The same tables and clocks on both databases."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from covnode.errors import TransientError
from covnode.store import executors
from covnode.store.engine import make_engine, revisions, upgrade
from covnode.store.sessions import transactions
from covnode.store.tables import Base

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
        assert executors.silent(session, 5.0) == []
        assert executors.silent(session, -1.0) == ["host:worker-0"]
        assert [row.role for row in executors.living(session, 5.0)] == ["worker"]
        executors.forget(session, "host:worker-0")
        assert executors.silent(session, -1.0) == []


def test_a_database_that_is_away_is_a_transient_error():
    away = transactions(make_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none"))

    def use():
        with away() as session:
            executors.silent(session, 1.0)

    with pytest.raises(TransientError):
        use()
