"""Least privilege in PostgreSQL: one role for receiver, sender and look-ups, one for the worker, as SQL to run.

Printed by ``covnode db roles``, run by whoever administers the database. The worker's role reads no identity, no
patient and no audit trail; the node's adds to the audit trail and changes none of it. The tables stay with the user who
upgrades them.
"""

import re

from covnode.errors import ConfigurationError
from covnode.store.tables import AuditRow, Base

OF_WORKER = {
    "alembic_version": "SELECT",
    "series": "SELECT",
    "analyses": "SELECT, UPDATE",
    "deliveries": "SELECT, INSERT, UPDATE",
    "job_queues": "SELECT, INSERT, UPDATE",
    "executors": "SELECT, INSERT, UPDATE, DELETE",
    "shadow_answers": "SELECT, INSERT, UPDATE",
}
"""What the worker does with our tables; it reads and writes those of the queue's engine, too."""

_ENGINE_SCHEMA = "dbos"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def role_statements(database: str, node_role: str, worker_role: str) -> list[str]:
    """Return the statements; they can be run again after an upgrade.

    Raises
    ------
    ConfigurationError
        A name is none that needs no quotes.
    """
    for name in (database, node_role, worker_role):
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"{name}: a name of lower-case letters, digits and _ is wanted here.")
    of_node = dict.fromkeys(sorted(Base.metadata.tables), "SELECT, INSERT, UPDATE, DELETE")
    of_node |= {AuditRow.__tablename__: "SELECT, INSERT", "alembic_version": "SELECT"}
    return [
        *_role(database, node_role, of_node),
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {node_role}",
        *_role(database, worker_role, OF_WORKER),
    ]


def _role(database: str, role: str, grants: dict[str, str]) -> list[str]:
    return [
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
        f"GRANT CONNECT ON DATABASE {database} TO {role}",
        f"GRANT USAGE ON SCHEMA public, {_ENGINE_SCHEMA} TO {role}",
        *(f"GRANT {rights} ON {table} TO {role}" for table, rights in grants.items()),
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {_ENGINE_SCHEMA} TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {_ENGINE_SCHEMA} TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {_ENGINE_SCHEMA} TO {role}",
    ]
