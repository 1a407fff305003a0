"""The digest of an instance's content is of several kinds: SHA-256 of what came before, BLAKE3 of what comes now"""

from alembic import op

revision = "0003"
down_revision = "0002"

RENAMED = ("content_digest",)
"""Columns that are not lost on the way back."""


def upgrade() -> None:
    op.execute("ALTER TABLE instances RENAME COLUMN content_sha256 TO content_digest")


def downgrade() -> None:
    op.execute("ALTER TABLE instances RENAME COLUMN content_digest TO content_sha256")
