"""alembic's entry: covnode.store.engine passes the engine in."""

import sqlalchemy as sa
from alembic import context

from covnode.store.tables import Base


def _ours(_object: object, name: str | None, type_: str, _reflected: bool, _compare_to: object) -> bool:  # noqa: FBT001 (alembic calls it so)
    # The queue engine keeps its own tables beside ours and migrates them itself.
    return type_ != "table" or name in Base.metadata.tables


def run() -> None:
    engine: sa.Engine = context.config.attributes["engine"]
    with engine.connect() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_object=_ours,
            render_as_batch=is_sqlite,
            transactional_ddl=True,
        )
        with context.begin_transaction():
            if is_sqlite:
                # Its driver begins no transaction before DDL: an upgrade that is killed would leave half of its steps.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            context.run_migrations()


run()
