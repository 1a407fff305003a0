"""With the roles that `covnode db roles` prints a whole node works, and the worker's reads no identity."""

import pytest
import sqlalchemy as sa
from postgresql_server import PostgresqlServer
from processes import covnode, received, wait_until

from covnode.store.engine import make_engine
from covnode.store.tables import AuditRow, IdentityRow, PatientRow

pytestmark = pytest.mark.slow


@pytest.fixture
def server():
    server = PostgresqlServer()
    server.start()
    yield server
    server.stop()
    server.remove()


def as_role(url, role):
    return sa.make_url(url).set(username=role).render_as_string(hide_password=False)


def refused(url, role, statement):
    with (
        pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        make_engine(as_role(url, role)).begin() as c,
    ):
        c.execute(sa.text(statement))
    return True


def test_a_node_works_with_the_least_rights_and_its_worker_reads_no_identity(idle_node, pacs, server, write_series):
    node = idle_node
    url = server.create_database("covnode")
    node.init("--pacs", pacs.address)
    node.configure(database__url=url)
    where = ("--home", str(node.root))
    assert covnode("db", "upgrade", *where).returncode == 0
    for _ in range(2):  # as after an upgrade
        statements = covnode("db", "roles", *where)
        assert statements.returncode == 0, statements.stderr
        with make_engine(url).begin() as connection:
            connection.exec_driver_sql(statements.stdout)
    node.configure(database__url=as_role(url, "covnode_node"), database__worker_url=as_role(url, "covnode_worker"))
    node.start()
    node.push(write_series(PatientID="SENT-1"))
    assert {str(ds.PatientID) for ds in received(pacs, 2)} == {"SENT-1"}
    wait_until(lambda: node.jobs("delivery", "delivered"))
    with make_engine(url).connect() as connection:
        users = connection.scalars(sa.text("SELECT DISTINCT usename FROM pg_stat_activity WHERE usename ~ 'covnode_'"))
        assert set(users) == {"covnode_node", "covnode_worker"}
        assert connection.scalar(sa.select(sa.func.count()).select_from(IdentityRow)) == 1
    for row in (IdentityRow, PatientRow, AuditRow):
        assert refused(url, "covnode_worker", f"SELECT * FROM {row.__tablename__}")
    for table in ("instances", "studies", "delivered_objects"):
        assert refused(url, "covnode_worker", f"SELECT * FROM {table}")
    assert refused(url, "covnode_worker", "DELETE FROM identities")
    for statement in ("UPDATE identity_audit SET reason = ''", "DELETE FROM identity_audit", "TRUNCATE identity_audit"):
        assert refused(url, "covnode_node", statement)
    for command in (["rotate"], ["lookup", node.series()[0]["series_id"], "--reason", "a call"]):
        done = covnode("identities", *command, *where)
        assert done.returncode == 0, done.stderr
    node.stop()
    assert not [line for line in node.log_lines if line.get("level") == "error"]


def test_sqlite_has_no_roles_and_a_name_that_needs_quotes_is_refused(idle_node):
    idle_node.init()
    done = covnode("db", "roles", "--home", str(idle_node.root))
    assert done.returncode == 1
    assert "SQLite knows no roles" in done.stderr
    idle_node.configure(database__url="postgresql+psycopg2://nobody@127.0.0.1:1/covnode")
    done = covnode("db", "roles", "--worker-role", "a b; DROP TABLE x", "--home", str(idle_node.root))
    assert done.returncode == 1
    assert not done.stdout
