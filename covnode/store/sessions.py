"""One transaction as a context, and the guard that every change of state goes through."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from covnode.errors import RowExists, RowRefused, StaleClaim, TransientError

Transaction = Callable[[], AbstractContextManager[Session]]


def transactions(engine: sa.Engine) -> Transaction:
    """Return a factory of transactions: committed at the end of the block, rolled back on an error.

    Raises
    ------
    TransientError
        The database is away or locked, or takes nothing at present: it is read-only, a right is missing, the disk is
        full, the file is damaged. The block had no effect.
    RowExists
        Another process wrote the same row first.
    RowRefused
        A value is out of the range of its column.
    """

    @contextmanager
    def transaction() -> Iterator[Session]:
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except sa.exc.IntegrityError:
            raise RowExists("another process wrote the same row first") from None
        except sa.exc.DataError as error:
            raise RowRefused(f"the database cannot hold a value ({type(error.orig).__name__})") from None
        except sa.exc.DBAPIError as error:
            raise TransientError(f"the database cannot be used at present ({type(error.orig).__name__})") from None
        except sa.exc.TimeoutError:
            raise TransientError("the database cannot be used at present (all connections are taken)") from None

    return transaction


def new_id(prefix: str) -> str:
    """Return a fresh id of our own, such as ``ser-3f9c0a1b2c4d``."""
    return f"{prefix}-{secrets.token_hex(6)}"


def guarded(session: Session, statement: sa.Update) -> None:
    """Run an update that must hit exactly the row it names in the state it names.

    Raises
    ------
    StaleClaim
        Another process has moved the row on.
    """
    if session.connection().execute(statement).rowcount != 1:
        raise StaleClaim("another process has taken this over")
