"""Fixtures that several kinds of test share: a database, and a whole node in processes of its own."""

import os

import pytest
from processes import NodeProcess, StandInPacs

from covnode.queue.engine import migrate_engine
from covnode.store.engine import make_engine, upgrade
from covnode.store.sessions import transactions


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
def node_process(tmp_path):
    """A node that is neither initialised nor started; the test says how."""
    os.environ.pop("COVNODE_HOME", None)
    node = NodeProcess(tmp_path / "home")
    yield node
    node.stop()


@pytest.fixture
def node(node_process, pacs):
    """A node that serves and delivers to the stand-in PACS."""
    node_process.init("--pacs", f"{pacs.ae_title}@127.0.0.1:{pacs.port}", "--accept-demonstration")
    node_process.start()
    return node_process
