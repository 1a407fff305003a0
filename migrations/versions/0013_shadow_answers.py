"""What shadows, models that run in silence, answered beside the analyses"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "shadow_answers",
        sa.Column("analysis_id", sa.String(), sa.ForeignKey("analyses.analysis_id"), primary_key=True),
        sa.Column("task", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("active_model", sa.String(), nullable=False),
        sa.Column("active_sha256", sa.String()),
        sa.Column("active_answer", sa.Double()),
        sa.Column("answer", sa.Double()),
        sa.Column("agrees", sa.Boolean()),
        sa.Column("dice", sa.Double()),
        sa.Column("error", sa.String()),
    )
    op.create_index("ix_shadow_answers_sha256", "shadow_answers", ["sha256"])


def downgrade() -> None:
    op.drop_table("shadow_answers")
