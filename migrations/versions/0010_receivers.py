"""Which receiver sees to a series: several hosts on one database"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("series", sa.Column("receiver", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("series", "receiver")
