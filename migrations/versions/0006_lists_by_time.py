"""Lists of the newest series, analyses and deliveries stay quick however many there are"""

from alembic import op

from covnode.store.indexes import build_index

revision = "0006"
down_revision = "0005"

_BY_TIME = {"series": "received_at", "analyses": "queued_at", "deliveries": "queued_at"}


def upgrade() -> None:
    for table, column in _BY_TIME.items():
        build_index(f"ix_{table}_{column}", table, column)


def downgrade() -> None:
    for table, column in _BY_TIME.items():
        op.drop_index(f"ix_{table}_{column}", table)
