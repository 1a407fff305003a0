"""The database engine: SQLite in the home folder, or PostgreSQL; and the migrations that make its tables."""

from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import covnode
from covnode.errors import ConfigurationError

_BUSY_TIMEOUT_MS = 30_000
# A host that vanishes sends no farewell: unanswered bytes end the connection, and a silent one is asked for a sign.
_POSTGRESQL: dict[str, int] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
_COMMON: dict[str, Any] = {
    "hide_parameters": True,
    "json_serializer": lambda value: msgspec.json.encode(value).decode(),
}


def make_engine(url: str) -> sa.Engine:
    """Return an engine for ``url``.

    SQLite: write-ahead log, every commit synced, writers queue for up to 30 s. PostgreSQL: a host that does not answer
    is given up after 5 s to 20 s, where the URL does not say otherwise. Errors never show the values of a statement.

    Raises
    ------
    ConfigurationError
        The URL is not one of SQLite or ``postgresql+psycopg2``.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise ConfigurationError("database.url is not a SQLAlchemy URL.") from None
    if parsed.drivername == "postgresql+psycopg2":
        patience = {name: value for name, value in _POSTGRESQL.items() if name not in parsed.query}
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args=patience, **_COMMON)
    if parsed.drivername != "sqlite":
        raise ConfigurationError("database.url must start with sqlite:/// or postgresql+psycopg2://.")
    engine = sa.create_engine(parsed, **_COMMON)

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
        # IMMEDIATE takes the write lock at the first statement that writes, so that two writers queue up
        # instead of failing when both hold a read lock.
        connection.isolation_level = "IMMEDIATE"
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine


def _alembic(engine: sa.Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(data_folder("migrations")))
    config.attributes["engine"] = engine
    return config


def data_folder(name: str) -> Path:
    """Return the folder of data that ships with covnode: of the installed package, or of the checkout."""
    package = Path(covnode.__file__).parent
    installed = package / "_data" / name
    return installed if installed.exists() else package.parent / name


def upgrade(engine: sa.Engine) -> None:
    """Bring our tables to the newest revision; data are kept."""
    command.upgrade(_alembic(engine), "head")


def revisions(engine: sa.Engine) -> tuple[str | None, str | None]:
    """Return (the database's revision, the newest one)."""
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory.from_config(_alembic(engine)).get_current_head()
