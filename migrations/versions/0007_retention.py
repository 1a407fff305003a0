"""Series whose files retention has removed"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("series", sa.Column("files_removed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("series", sa.Column("files_held", sa.Boolean(), nullable=False, server_default=sa.true()))
