"""An index on a table that a running node writes; called by the migrations."""

import sqlalchemy as sa
from alembic import op

from covnode.store.upgrades import LOCK_TIMEOUT_MS

_PATIENCE = "60s"


def build_index(name: str, table: str, column: str) -> None:
    """Build an index; on PostgreSQL while others write the table, and anew where an upgrade died over it.

    Call it before all else that a migration does: it commits, so what stands before it would be done twice when the
    migration is run again.
    """
    context = op.get_context()
    if context.dialect.name == "sqlite":
        op.create_index(name, table, [column])
        return
    with context.autocommit_block():
        connection = op.get_bind()
        # It waits for the transactions that are open, and nobody waits for it.
        connection.exec_driver_sql(f"SET lock_timeout = '{_PATIENCE}'")
        is_valid = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
        if connection.scalar(is_valid, {"name": name}) is False:
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(name, table, [column], if_not_exists=True, postgresql_concurrently=True)
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
