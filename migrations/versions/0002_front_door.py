"""Studies, evidence, score sheets, facts of instances; file names relative to the spool"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("study_id", sa.String(), nullable=False),
        sa.Column("study_digest", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_instance_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stat", sa.Boolean(), nullable=False),
        sa.Column("choice_revision", sa.Integer(), nullable=False),
        sa.Column("chosen_series_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("study_id"),
        sa.UniqueConstraint("study_digest"),
    )
    # Series of before have no study: each is looked at alone, as it was.
    # As text, because alembic adds no foreign key on SQLite.
    op.execute("ALTER TABLE series ADD COLUMN study_id VARCHAR REFERENCES studies (study_id)")
    op.create_index("ix_series_study_id", "series", ["study_id"])
    op.add_column("series", sa.Column("expected_instances", sa.Integer(), nullable=True))
    op.add_column("series", sa.Column("evidence", sa.JSON(), nullable=True))
    op.add_column("series", sa.Column("score_sheet", sa.JSON(), nullable=True))
    op.add_column("instances", sa.Column("patient_digest", sa.String(), nullable=True))
    op.add_column("instances", sa.Column("facts", sa.JSON(), nullable=True))
    op.add_column("instances", sa.Column("ignored", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_instances_sop_digest", "instances", ["sop_digest"])
    if op.get_bind().dialect.name == "postgresql":  # SQLite's integers hold 64 bits
        op.alter_column("instances", "size_bytes", type_=sa.BigInteger(), existing_nullable=False)
    op.execute("UPDATE instances SET file_name = series_id || '/' || file_name WHERE file_name NOT LIKE '%/%'")


def downgrade() -> None:
    # Names in folders that the release before did not know stay as they are: it finds their files by nothing.
    op.execute(
        "UPDATE instances SET file_name = substr(file_name, length(series_id) + 2) "
        "WHERE file_name LIKE series_id || '/%'"
    )
    op.drop_index("ix_instances_sop_digest", "instances")
    for column in ("patient_digest", "facts", "ignored"):
        op.drop_column("instances", column)
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("instances", "size_bytes", type_=sa.Integer(), existing_nullable=False)
    for column in ("expected_instances", "evidence", "score_sheet"):
        op.drop_column("series", column)
    op.drop_index("ix_series_study_id", "series")
    # A copy of the table on SQLite, which drops no column that is a foreign key.
    with op.batch_alter_table("series") as batch:
        batch.drop_column("study_id")
    op.drop_table("studies")
