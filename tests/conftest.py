"""Fixtures that several kinds of test share: a database, and a whole node in processes of its own."""

import pytest
from processes import NodeUnderTest

from covnode.cli.local_node import StandInPacs
from covnode.queue.engine import migrate_engine
from covnode.store.engine import make_engine
from covnode.store.sessions import transactions
from covnode.store.upgrades import upgrade


@pytest.fixture
def database_url(tmp_path):
    url = f"sqlite:///{tmp_path / 'covnode.db'}"
    engine = make_engine(url)
    upgrade(engine)
    migrate_engine(url)
    engine.dispose()
    return url


@pytest.fixture
def transaction(database_url):
    engine = make_engine(database_url)
    yield transactions(engine)
    engine.dispose()


@pytest.fixture
def pacs(tmp_path):
    stand_in = StandInPacs(tmp_path / "pacs")
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def idle_node(tmp_path, monkeypatch):
    """A node that is neither initialised nor started; the test says how."""
    monkeypatch.delenv("COVNODE_HOME", raising=False)
    node = NodeUnderTest(tmp_path / "home")
    yield node
    node.stop()


@pytest.fixture
def node(idle_node, pacs):
    """A node that serves and delivers to the stand-in PACS."""
    idle_node.init("--pacs", pacs.address, "--accept-demonstration")
    idle_node.start()
    return idle_node
