"""All of our tables from one database into another, empty one, in one transaction: for a site that outgrows SQLite.

What was written is read back and compared before it is committed. The engine's jobs are not copied: our tables say what
is open, and that is given a job at the next start.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from covnode.errors import ConfigurationError
from covnode.store.tables import Base

_BATCH = 5000
_MODULUS = 1 << 256

Progress = Callable[[int, int], None]
"""Told how many rows are done, and of how many."""

_Row = dict[str, Any]


class Copied(NamedTuple):
    """One table as it was read, or as it was written.

    Attributes
    ----------
    digest
        Of all rows, in whatever order: the sum of their SHA-256.
    """

    table: str
    rows: int
    digest: str


def transfer(source: sa.Engine, target: sa.Engine, progress: Progress) -> list[Copied]:
    """Copy every table, and return what was copied.

    Parameters
    ----------
    source
        SQLite; nobody writes to it meanwhile.
    target
        PostgreSQL, with the tables of the same revision, and no row in them.

    Raises
    ------
    ConfigurationError
        There are rows in the target, or it cannot hold one of the source, or what it holds differs: it is as before.
    """
    tables = _tables()
    try:
        with source.connect() as reading, target.begin() as writing:
            reading.exec_driver_sql("BEGIN IMMEDIATE")  # keeps every writer out
            _refuse_rows(writing, tables)
            total = sum(_count(reading, table) for table in tables)
            copied: list[Copied] = []
            done = 0
            for table in tables:
                copied.append(_copy(reading, writing, table))
                _set_sequence(writing, table)
                done += copied[-1].rows
                progress(done, total)
            _refuse_difference(copied, [_summed(table.name, _rows(writing, table)) for table in tables])
    except sa.exc.DBAPIError as error:
        raise ConfigurationError(
            f"the rows cannot be copied ({type(error.orig).__name__}): nothing was kept."
        ) from None
    except ValueError:
        # Of PostgreSQL's driver; its text may quote the value.
        raise ConfigurationError("PostgreSQL cannot hold a value of the file: nothing was kept.") from None
    return copied


def _tables() -> list[sa.Table]:
    """Return our tables, those first that others refer to; they write NULL where there is no JSON, as it was read."""
    metadata = sa.MetaData()
    for table in Base.metadata.sorted_tables:
        for column in table.to_metadata(metadata).columns:
            if isinstance(column.type, sa.JSON):
                column.type = sa.JSON(none_as_null=True)
    return metadata.sorted_tables


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def _refuse_rows(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    for table in tables:
        # Nobody else begins to write either.
        connection.execute(sa.text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))
        if _count(connection, table):
            raise ConfigurationError(
                f"database.url names a database with rows in {table.name}: name an empty one, and run "
                "'covnode db upgrade' to make its tables."
            )


def _copy(reading: sa.Connection, writing: sa.Connection, table: sa.Table) -> Copied:
    """Copy one table; a column that refers to the table itself is written when all rows are there."""
    later = [key.parent for key in table.foreign_keys if key.column.table.name == table.name]

    def written() -> Iterator[_Row]:
        batch: list[_Row] = []
        for row in _rows(reading, table):
            batch.append(row)
            if len(batch) == _BATCH:
                write(batch)
                batch = []
            yield row
        write(batch)

    def write(batch: list[_Row]) -> None:
        if batch:
            writing.execute(sa.insert(table), [{**row, **{column.name: None for column in later}} for row in batch])

    copied = _summed(table.name, written())
    for column in later:
        for row in _rows(reading, table, column.is_not(None)):
            this = sa.and_(*(key == row[key.name] for key in table.primary_key))
            writing.execute(sa.update(table).where(this).values({column.name: row[column.name]}))
    return copied


def _rows(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool] | None = None) -> Iterator[_Row]:
    query = sa.select(table).where(sa.true() if which is None else which).execution_options(yield_per=_BATCH)
    yield from (dict(row) for row in connection.execute(query).mappings())


def _summed(name: str, rows: Iterable[_Row]) -> Copied:
    count, total = 0, 0
    for row in rows:
        # In one order, whatever the database made of it.
        encoded = msgspec.json.encode({str(key): value for key, value in row.items()}, order="sorted")
        total += int.from_bytes(hashlib.sha256(encoded).digest())
        count += 1
    return Copied(name, count, f"{total % _MODULUS:064x}")


def _set_sequence(connection: sa.Connection, table: sa.Table) -> None:
    """Let the numbers that the database gives go on behind the last one."""
    column = table.autoincrement_column
    if column is None:
        return
    last = sa.select(sa.func.max(column)).scalar_subquery()
    sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
    connection.execute(sa.select(sa.func.setval(sequence, last)).where(sa.exists(sa.select(column))))


def _refuse_difference(read: list[Copied], written: list[Copied]) -> None:
    different = [one.table for one, other in zip(read, written, strict=True) if one != other]
    if different:
        raise ConfigurationError(f"what was written to {', '.join(different)} differs from what was read: not kept.")
