"""The migrations that make our tables and bring them to the newest revision."""

import random
import time
from collections.abc import Callable

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from covnode.errors import TransientError
from covnode.store.engine import data_folder, is_of_newer_release, require_fitting, revisions

LOCK_TIMEOUT_MS = 1000
"""PostgreSQL: so long a migration waits for a table, and all others behind it."""

_LOCKED_FOR_S = 300.0
_LOCKED = frozenset({"55P03", "40P01"})  # lock not available, deadlock detected


def alembic_config(engine: sa.Engine) -> Config:
    """Return what alembic needs to know to work on this database."""
    config = Config()
    config.set_main_option("script_location", str(data_folder("migrations")))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: sa.Engine) -> None:
    """Bring our tables to the newest revision; data are kept.

    On PostgreSQL the node may run meanwhile: a table whose lock does not come at once is tried again a little later.

    Raises
    ------
    ConfigurationError
        The tables are those of a newer release that has removed something.
    TransientError
        A transaction of somebody else holds a table for longer than the upgrade waits; what was done stays.
    """
    current, newest = revisions(engine)
    require_fitting(current, newest, upgrading=True)
    if is_of_newer_release(current, newest):
        return
    patiently(lambda: command.upgrade(alembic_config(engine), "head"))


def patiently(migrate: Callable[[], None]) -> None:
    """Migrate, and do so again a little later as long as somebody else holds a table, or migrates too.

    Raises
    ------
    TransientError
        That takes longer than the migration waits; what was done stays.
    """
    until_s = time.monotonic() + _LOCKED_FOR_S
    while True:
        try:
            migrate()
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "pgcode", None) not in _LOCKED:
                raise
            why = "a long transaction in the database holds a table: end it, then run this again."
        except TransientError as error:
            why = str(error)
        else:
            return
        if time.monotonic() > until_s:
            raise TransientError(why)
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 (spreads tries, keeps no secret)
