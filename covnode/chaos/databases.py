"""The database of the node under chaos, and how it goes away for a moment: SQLite is locked, PostgreSQL is stopped."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from covnode.chaos.postgresql import PostgresqlServer

_AWAY_S = 3.0
_TAKE_S = 1.0
_WAIT_S = 30.0


class Database(Protocol):
    """What the chaos knows of the database."""

    url: str
    name: str

    def cut(self, while_away: Callable[[], None]) -> None:
        """Take it away, call ``while_away``, and bring it back some seconds later."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


class SqliteDatabase:
    """The file in the home folder; whoever locks it makes every writer wait."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.url = f"sqlite:///{file}"
        self.name = f"SQLite {sqlite3.sqlite_version}"

    def cut(self, while_away: Callable[[], None]) -> None:
        """Lock it for some seconds; a writer who holds the lock by now is let go on first."""
        connection = sqlite3.connect(self._file, timeout=_TAKE_S, isolation_level=None)
        try:
            try:
                connection.execute("BEGIN EXCLUSIVE")
                while_away()
            except sqlite3.OperationalError:
                while_away()
                connection.execute(f"PRAGMA busy_timeout={int(_WAIT_S * 1000)}")
                connection.execute("BEGIN EXCLUSIVE")
            threading.Event().wait(_AWAY_S)
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing to do: it goes with the home."""


class PostgresqlDatabase:
    """A database on a server of its own."""

    def __init__(self, port: int) -> None:
        self._server = PostgresqlServer(port)
        self._server.start()
        self.url = self._server.create_database("covnode")
        self.name = f"PostgreSQL {self._server.version}"

    def cut(self, while_away: Callable[[], None]) -> None:
        """Stop it at once, as a crash does, and start it some seconds later."""
        self._server.stop()
        try:
            while_away()
            threading.Event().wait(_AWAY_S)
        finally:
            self._server.start()

    def close(self) -> None:
        """Stop the server and remove it."""
        self._server.stop()
        self._server.remove()
