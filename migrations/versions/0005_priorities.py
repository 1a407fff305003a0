"""Priorities of analyses and deliveries"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TABLES = ("analyses", "deliveries")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("priority", sa.Integer(), nullable=False, server_default="10"))


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "priority")
