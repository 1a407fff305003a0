"""The way back to the tables of an older release, and what is lost on it.

What is lost is not declared but looked at: the older migrations make their tables in a database of their own, and what
ours has beside those, and holds something, has no place there.
"""

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.script import Script, ScriptDirectory

from covnode.errors import ConfigurationError
from covnode.store.engine import make_engine, revisions
from covnode.store.tables import Base
from covnode.store.upgrades import alembic_config, patiently

_STEPS_BACK = re.compile(r"-[1-9]\d*")


class Lost(NamedTuple):
    """What the older release has no place for.

    Attributes
    ----------
    column
        None: the whole table.
    rows
        So many hold something there.
    """

    table: str
    column: str | None
    rows: int


def undone(engine: sa.Engine, target: str) -> list[Script]:
    """Return the migrations that are undone, the newest first; none when the tables are at ``target``.

    Parameters
    ----------
    target
        A revision, or ``-1``: the one before the database's own, ``-2``: the one before that.

    Raises
    ------
    ConfigurationError
        The database or the target is of a release that this one does not know, or the target is newer.
    """
    scripts = list(ScriptDirectory.from_config(alembic_config(engine)).walk_revisions())
    known = [script.revision for script in scripts]
    current, newest = revisions(engine)
    if current is None:
        raise ConfigurationError("the database has no tables: there is nothing to go back from.")
    if current not in known:
        raise ConfigurationError(
            f"the database is at revision {current} of a newer release, this one knows the way back from {newest} at "
            "most: run 'covnode db downgrade' of that release."
        )
    at = known.index(current)
    to = at - int(target) if _STEPS_BACK.fullmatch(target) else known.index(target) if target in known else len(known)
    if to >= len(known):
        raise ConfigurationError(f"there is no revision {target}, only {', '.join(reversed(known[at:]))}.")
    if to < at:
        raise ConfigurationError(
            f"revision {target} is newer than the database, which is at {current}: 'covnode db upgrade' goes there."
        )
    return scripts[at:to]


def losses(engine: sa.Engine, scripts: list[Script]) -> list[Lost]:
    """Return what is lost when these migrations are undone: tables with rows, columns with other than their default."""
    if not scripts:
        return []
    kept = _columns_at(str(scripts[-1].down_revision))
    renamed = {name for script in scripts for name in getattr(script.module, "RENAMED", ())}
    lost = []
    with engine.connect() as connection:
        there = sa.inspect(connection)
        for name in sorted(Base.metadata.tables.keys() & set(there.get_table_names())):
            table = Base.metadata.tables[name]
            if name not in kept:
                lost.append(Lost(name, None, _count(connection, table, sa.true())))
                continue
            gone = {column["name"] for column in there.get_columns(name)} - kept[name] - renamed
            lost += [Lost(name, each, _count(connection, table, _holds(table.columns[each]))) for each in sorted(gone)]
    return [each for each in lost if each.rows]


def downgrade(engine: sa.Engine, scripts: list[Script]) -> None:
    """Undo these migrations, those of `undone`; TransientError as for an upgrade."""
    if scripts:
        target = str(scripts[-1].down_revision)
        patiently(lambda: command.downgrade(alembic_config(engine), target))


def _columns_at(revision: str) -> dict[str, set[str]]:
    """Return the columns of each table as the migrations up to this one make them."""
    with tempfile.TemporaryDirectory(prefix="covnode-") as folder:
        engine = make_engine(f"sqlite:///{Path(folder) / 'older.db'}")
        command.upgrade(alembic_config(engine), revision)
        there = sa.inspect(engine)
        columns = {name: {each["name"] for each in there.get_columns(name)} for name in there.get_table_names()}
        engine.dispose()
    return columns


def _holds(column: sa.Column[object]) -> sa.ColumnElement[bool]:
    default = column.server_default
    if not isinstance(default, sa.DefaultClause):
        return column.is_not(None)
    value = sa.literal_column(default.arg) if isinstance(default.arg, str) else default.arg
    return column.is_distinct_from(value)


def _count(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table).where(which)) or 0
