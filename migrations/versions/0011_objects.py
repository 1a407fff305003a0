"""Hosts that share no file system: whose spool has a series, and where its copy and its result lie in a store"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_COLUMNS = (("series", "spool"), ("deliveries", "spool"), ("analyses", "copy_place"), ("analyses", "result_place"))


def upgrade() -> None:
    for table, column in _COLUMNS:
        op.add_column(table, sa.Column(column, sa.String(), nullable=True))


def downgrade() -> None:
    for table, column in reversed(_COLUMNS):
        op.drop_column(table, column)
