"""Generations of keys: patients, what an identity is tied to and sealed with; the audit trail, which only grows

The identities of before are tied to their pseudonyms by whoever has the key: 'covnode db upgrade', after this.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_REFUSE = "SELECT RAISE(ABORT, 'the audit trail is only added to')"
_SAME_ROW = "SELECT 1 FROM identity_audit WHERE audit_id = NEW.audit_id"
_TIES = ("pseudonymous_patient_id", "pseudonymous_study_uid", "pseudonymous_series_uid")


def upgrade() -> None:
    op.create_table(
        "patients",
        sa.Column("patient_digest", sa.String(), nullable=False),
        sa.Column("key_generation", sa.Integer(), nullable=False),
        sa.Column("pseudonymous_patient_id", sa.String(), nullable=False),
        sa.Column("sealed_offset", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_with", sa.Integer(), nullable=False),
        sa.Column("merged_into", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["merged_into"], ["patients.pseudonymous_patient_id"]),
        sa.PrimaryKeyConstraint("patient_digest"),
        sa.UniqueConstraint("pseudonymous_patient_id"),
    )
    # What is there was sealed by the one key that there was.
    op.add_column("identities", sa.Column("sealed_with", sa.Integer(), nullable=False, server_default="1"))
    for name in _TIES:
        op.add_column("identities", sa.Column(name, sa.String(), nullable=True))
        op.create_index(f"ix_identities_{name}", "identities", [name])
    op.create_table(
        "identity_audit",
        sa.Column("audit_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subjects", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("identities", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER identity_audit_no_{event.lower()} BEFORE {event} ON identity_audit "
                f"BEGIN {_REFUSE}; END"
            )
        # INSERT OR REPLACE would remove the row that is there, and call no trigger for it.
        op.execute(
            "CREATE TRIGGER identity_audit_no_replace BEFORE INSERT ON identity_audit "
            f"WHEN EXISTS ({_SAME_ROW}) BEGIN {_REFUSE}; END"
        )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION identity_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit trail is only added to'; END $$"
    )
    op.execute(
        "CREATE TRIGGER identity_audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON identity_audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION identity_audit_refuse()"
    )


def downgrade() -> None:
    op.drop_table("identity_audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION identity_audit_refuse()")
    for name in _TIES:
        op.drop_index(f"ix_identities_{name}", "identities")
        op.drop_column("identities", name)
    op.drop_column("identities", "sealed_with")
    op.drop_table("patients")
