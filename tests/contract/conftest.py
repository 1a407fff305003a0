"""Both databases: every test of this folder runs on SQLite and on a PostgreSQL server of its own."""

import pytest
from postgresql_server import PostgresqlServer

from covnode.queue.engine import migrate_engine
from covnode.store.engine import make_engine
from covnode.store.upgrades import upgrade


@pytest.fixture(scope="session")
def postgresql():
    server = PostgresqlServer()
    server.start()
    yield server
    server.stop()
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'covnode.db'}"
    else:
        server = request.getfixturevalue("postgresql")
        url = server.create_database(f"t{abs(hash(request.node.nodeid))}")
    engine = make_engine(url)
    upgrade(engine)
    migrate_engine(url)
    engine.dispose()
    return url
