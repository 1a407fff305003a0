"""alembic's entry: covnode.store.upgrades passes the engine in."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import context

from covnode.errors import TransientError
from covnode.store.tables import Base
from covnode.store.upgrades import LOCK_TIMEOUT_MS

_ONE_AT_A_TIME = 0x636F766E6F6465  # any number that no other program locks in this database


def _ours(_object: object, name: str | None, type_: str, _reflected: bool, _compare_to: object) -> bool:  # noqa: FBT001 (alembic calls it so)
    # The queue engine keeps its own tables beside ours and migrates them itself.
    return type_ != "table" or name in Base.metadata.tables


@contextmanager
def _connection_of_its_own(engine: sa.Engine) -> Iterator[sa.Connection]:
    """What is set on it is for the migrations alone: the pool does not get it back."""
    with engine.connect() as connection:
        try:
            yield connection
        finally:
            connection.invalidate()


def run() -> None:
    engine: sa.Engine = context.config.attributes["engine"]
    with _connection_of_its_own(engine) as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:
            # A table that is copied and dropped would take along what refers to it.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        else:
            # Whoever waits for the lock of a table has all others wait behind it: better to fail and come again.
            connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
            # Not the function that waits: an index that another upgrade builds would wait for whoever waits there.
            if not connection.scalar(sa.text(f"SELECT pg_try_advisory_lock({_ONE_AT_A_TIME})")):
                raise TransientError("another upgrade of the database runs: run this again when it has ended.")
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_object=_ours,
            render_as_batch=is_sqlite,
            transactional_ddl=True,
            # So that no lock is held longer than for one migration; SQLite has one for all anyway.
            transaction_per_migration=not is_sqlite,
        )
        with context.begin_transaction():
            if is_sqlite:
                # Its driver begins no transaction before DDL: an upgrade that is killed would leave half of its steps.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            context.run_migrations()


run()
