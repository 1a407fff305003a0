"""Deliveries: how many senders in a row died while they sent one, and whether later ones of its study pass it"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("crashes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("lets_pass", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("deliveries", "lets_pass")
    op.drop_column("deliveries", "crashes")
