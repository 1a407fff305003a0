"""The whole database, our tables and the engine's, as one file: taken while the node runs, put back into an empty one.

SQLite by its backup API, PostgreSQL by pg_dump and pg_restore; both give one consistent state.
"""

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Literal, cast

import sqlalchemy as sa

from covnode.errors import ConfigurationError

Kind = Literal["sqlite", "postgresql"]
_NAMES: dict[Kind, str] = {"sqlite": "covnode.db", "postgresql": "covnode.dump"}
_ENGINE_SCHEMA = "dbos"


def kind_of(engine: sa.Engine) -> Kind:
    """Return which of the two databases it is."""
    return "sqlite" if engine.dialect.name == "sqlite" else "postgresql"


def name_of(kind: Kind) -> str:
    """Return the name of the snapshot's file."""
    return _NAMES[kind]


def files_of(engine: sa.Engine) -> list[Path]:
    """Return the files of the running database: of SQLite, with its log and index."""
    if kind_of(engine) != "sqlite" or engine.url.database is None:
        return []
    database = Path(engine.url.database).resolve()
    return [database, *(database.with_name(f"{database.name}-{part}") for part in ("wal", "shm", "journal"))]


def take(engine: sa.Engine, file: Path) -> None:
    """Write the database as it is at this moment into a new file; whoever writes to it goes on.

    Raises
    ------
    ConfigurationError
        It is damaged; or it is PostgreSQL, and pg_dump is not there or fails.
    """
    if kind_of(engine) == "postgresql":
        _run("pg_dump", engine, "--format=custom", "--no-owner", "--no-privileges", f"--file={file}")
        return
    connection = engine.raw_connection()
    copy = sqlite3.connect(file)
    try:
        # In one step: in several it begins anew each time that somebody writes.
        cast("sqlite3.Connection", connection.driver_connection).backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(f"the database cannot be copied ({type(error).__name__}): is it damaged?") from None
    finally:
        copy.close()
        connection.close()
    if found != "ok":
        raise ConfigurationError("the database is damaged: restore the backup before this one.")


def refuse_tables(engine: sa.Engine) -> None:
    """Refuse to put a snapshot into a database that holds tables of a node.

    Raises
    ------
    ConfigurationError
        It does, or it does not answer.
    """
    try:
        looked_at = sa.inspect(engine)
        is_used = looked_at.has_table("alembic_version") or _ENGINE_SCHEMA in looked_at.get_schema_names()
    except sa.exc.DBAPIError as error:
        kind = type(error.orig).__name__
        raise ConfigurationError(f"the database does not answer ({kind}): see database.url.") from None
    if is_used:
        raise ConfigurationError("the database holds the tables of a node: name an empty one by --database-url.")


def put_back(engine: sa.Engine, file: Path) -> None:
    """Load a snapshot of PostgreSQL into an empty database: all of it, or nothing.

    Raises
    ------
    ConfigurationError
        pg_restore is not there or fails.
    """
    _run("pg_restore", engine, "--single-transaction", "--no-owner", "--no-privileges", str(file))


def _run(program: str, engine: sa.Engine, *options: str) -> None:
    found = shutil.which(program)
    if found is None:
        raise ConfigurationError(
            f"{program} is not installed: install PostgreSQL's client programs (Debian: postgresql-client), of the "
            "server's release or a newer one."
        )
    url = engine.url.set(drivername="postgresql")
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    address = url._replace(password=None).render_as_string(hide_password=False)
    done = subprocess.run(  # noqa: S603 (a program of PostgreSQL)
        [found, *options, f"--dbname={address}"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise ConfigurationError(f"{program} failed: {said}. The owner of the tables may do it (database.url).")
