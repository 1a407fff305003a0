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
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_object=_ours,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()


run()
