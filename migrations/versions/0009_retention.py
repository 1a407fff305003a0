"""Series whose files retention has removed"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("series", sa.Column("files_removed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("series", sa.Column("files_held", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    op.drop_column("series", "files_held")
    op.drop_column("series", "files_removed_at")
