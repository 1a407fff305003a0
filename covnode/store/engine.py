"""The database engine: SQLite in the home folder, or PostgreSQL; and whether its tables fit this release."""

from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

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


def data_folder(name: str) -> Path:
    """Return the folder of data that ships with covnode: of the installed package, or of the checkout."""
    package = Path(covnode.__file__).parent
    installed = package / "_data" / name
    return installed if installed.exists() else package.parent / name


def require_fitting(current: str | None, newest: str, *, upgrading: bool = False) -> None:
    """Refuse tables that this release cannot work on.

    It works on those of a newer release, too, while that has only added to them: then both can run during an upgrade. A
    migration that removes what an older release uses begins the next thousand of revisions.

    Parameters
    ----------
    upgrading
        Older tables are just what is wanted.

    Raises
    ------
    ConfigurationError
        They are older, or of a newer thousand.
    """
    if (current or "") < newest and not upgrading:
        raise ConfigurationError(
            f"the database is at revision {current or 'none'}, this release needs {newest}: run 'covnode db upgrade'."
        )
    if (current or "") > newest and not is_of_newer_release(current, newest):
        raise ConfigurationError(
            f"the database is at revision {current} of a newer release, which has removed what this one needs "
            f"({newest}): install that release here, too."
        )


def is_of_newer_release(current: str | None, newest: str) -> bool:
    """Whether the tables have more than this release knows, and all that it needs."""
    return current is not None and current > newest and current[0] == newest[0]


def revisions(engine: sa.Engine) -> tuple[str | None, str]:
    """Return (the database's revision, the newest one)."""
    # Read without alembic, whose modules would cost each role a fifth of a second at its start.
    with engine.connect() as connection:
        is_used = sa.inspect(connection).has_table("alembic_version")
        current = connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if is_used else None
    return current, max(path.name.split("_")[0] for path in (data_folder("migrations") / "versions").glob("[0-9]*.py"))
