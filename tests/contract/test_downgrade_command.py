"""``covnode db downgrade``: what it says is lost is what is lost, and it goes nowhere where it knows no way."""

import json
import subprocess

import pytest
import sqlalchemy as sa
from kept_node import Kept
from processes import covnode

from covnode.cli.local_node import covnode_command
from covnode.cli.settings_file import default_document, write_document
from covnode.errors import ConfigurationError
from covnode.records.job import SeriesState
from covnode.store import executors
from covnode.store.downgrade import Lost, losses, undone
from covnode.store.engine import revisions
from covnode.wiring.node import hold_lock

pytestmark = pytest.mark.xdist_group("dbos")


@pytest.fixture
def node(database_url, tmp_path):
    """A stopped node with two series: one delivered, one in quarantine."""
    kept = Kept(tmp_path / "home", database_url)
    kept.delivered(1)
    kept.series(2, SeriesState.QUARANTINED)
    write_document(kept.node.home, default_document(kept.node.settings))
    yield kept.node
    kept.node.engine.dispose()


def downgrade(node, *arguments):
    return covnode("db", "downgrade", *arguments, "--home", str(node.home.root))


def answered(node, revision, answer):
    command = covnode_command("db", "downgrade", revision, "--home", str(node.home.root))
    return subprocess.run(command, input=answer, capture_output=True, text=True, timeout=60, check=False)


def refused(done):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def columns_of(node, table):
    return {column["name"] for column in sa.inspect(node.engine).get_columns(table)}


def test_one_migration_back_and_forth_again(node):
    newest = revisions(node.engine)[1]
    done = downgrade(node, "-1", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["from"], told["undone"]) == (newest, [newest])
    assert revisions(node.engine)[0] == told["to"] != newest
    again = json.loads(downgrade(node, told["to"], "--yes", "--json").stdout)
    assert again == {"from": told["to"], "to": told["to"], "undone": [], "lost": []}
    assert covnode("db", "check", "--home", str(node.home.root)).returncode == 1
    node.upgrade_database()
    assert covnode("db", "check", "--home", str(node.home.root)).returncode == 0


def test_what_is_lost_is_said_before_it_is(node):
    refusal = answered(node, "0001", "n\n")
    assert "nothing was changed" in refused(refusal)
    assert "lost: studies, rows: 1\n" in refusal.stdout
    assert revisions(node.engine)[0] == revisions(node.engine)[1]
    assert "Aborted" in refused(answered(node, "0001", ""))

    done = answered(node, "0001", "y\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("The database is at revision 0001.\n")
    assert "studies" not in sa.inspect(node.engine).get_table_names()
    assert "receiver" not in columns_of(node, "series")


def test_only_what_holds_something_and_has_no_place_is_lost(node):
    def lost_to(target):
        return losses(node.engine, undone(node.engine, target))

    assert lost_to("0008") == []  # files_held is true in every row, files_removed_at in none
    with node.engine.begin() as connection:
        connection.execute(sa.text("UPDATE series SET files_held = :held WHERE state = 'quarantined'"), {"held": False})
    assert lost_to("0008") == [Lost("series", "files_held", 1)]
    assert Lost("studies", None, 1) in lost_to("0001")
    assert Lost("instances", "facts", 6) in lost_to("0001")
    # It has another name there.
    assert "content_digest" not in {each.column for each in lost_to("0001")}


def test_revisions_without_a_way_are_refused(node):
    assert "there is no revision 0777, only 0001, 0002" in refused(downgrade(node, "0777", "--yes"))
    assert downgrade(node).returncode == 2
    for target in ("base", "-99", "--fly"):
        with pytest.raises(ConfigurationError, match=f"there is no revision {target}"):
            undone(node.engine, target)
    for current, target, message in (
        ("0005", "0006", "revision 0006 is newer than the database, which is at 0005"),
        ("0999", "0001", "0999 of a newer release"),
    ):
        with node.engine.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = :current"), {"current": current})
        with pytest.raises(ConfigurationError, match=message):
            undone(node.engine, target)


def test_a_node_that_runs_here_or_on_another_host_keeps_its_tables(node):
    with node.transaction() as session:
        executors.beat(session, "other:sender-0", "sender")
    assert "other:sender-0 worked on the database" in refused(downgrade(node, "-1", "--yes"))
    with node.transaction() as session:
        executors.forget(session, "other:sender-0")
    hold_lock(node.home, "sender-0", "")  # holds it until this process ends
    assert "the node runs on" in refused(downgrade(node, "-1", "--yes"))
    assert revisions(node.engine)[0] == revisions(node.engine)[1]
