"""Deliveries: a fence apart from the attempts, and what one waits for; destinations: the circuit breaker of each"""

import sqlalchemy as sa
from alembic import op

from covnode.store.indexes import build_index

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    build_index("ix_deliveries_destination", "deliveries", "destination")
    op.add_column("deliveries", sa.Column("fence", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("waits_for", sa.String(), nullable=True))
    # Until now the attempts were the fence, which never falls.
    op.execute("UPDATE deliveries SET fence = attempts")
    op.create_table(
        "destinations",
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("away_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("destination"),
    )


def downgrade() -> None:
    op.drop_table("destinations")
    op.drop_index("ix_deliveries_destination", "deliveries")
    with op.batch_alter_table("deliveries") as batch:
        batch.drop_column("waits_for")
        batch.drop_column("fence")
