"""What a receiver takes over from one whose heartbeat stopped, and from releases for one host."""

import threading
import time

import pytest
from arriving import arrived
from commitment_cases import DIGEST, request_for
from test_reconciliation import keep

from covnode.deidentify import key_file
from covnode.home import Home
from covnode.receive.commitment import keep_request
from covnode.receive.spool import Spool
from covnode.records.job import SeriesState
from covnode.settings import Settings
from covnode.store import arrivals, executors, series
from covnode.store.executors import RECEIVER
from covnode.store.tables import ExecutorRow, InstanceRow, SeriesRow
from covnode.wiring.commitments import Commitments
from covnode.wiring.node import Node
from covnode.wiring.upkeep import Upkeep


def host(root, database_url, files):
    node = Node(Home(root, str(files)), Settings.model_validate({"database": {"url": database_url}}))
    for folder in node.home.folders:
        folder.mkdir(parents=True, exist_ok=True)
    return node


class Host:
    """The receiver of one host, without its doors."""

    def __init__(self, node, keys):
        self.node = node
        self.me = node.executor_id(RECEIVER)
        self.spool = Spool(node.home.spool, node.home.incoming, keys.digest)
        self.commitments = Commitments(node, DIGEST)
        self.upkeep = Upkeep(node, self.spool, self.commitments)

    def ask(self):
        return keep_request(request_for("1.1"), self.node.home.commitments, self.spool.drafts)

    def record(self, instance):
        with self.node.transaction() as session:
            return arrivals.record(session, [instance], "amend", self.me)[0]

    def take_over(self, other):
        self.upkeep._take_over(other.me, threading.Event())

    def rows(self, table):
        with self.node.transaction() as session:
            return session.query(table).all()


@pytest.fixture
def hosts(tmp_path, database_url):
    keys = key_file.create(tmp_path / "keys" / "pseudonyms.key")
    nodes = [host(tmp_path / name, database_url, tmp_path / "files") for name in "ab"]
    yield [Host(node, keys) for node in nodes]
    for node in nodes:
        node.engine.dispose()


def silent(one):
    """Make the heartbeat of a receiver stop."""
    with one.node.transaction() as session:
        session.merge(ExecutorRow(executor_id=one.me, role=RECEIVER, beat_at_s=time.time() - 60))


def test_two_homes_on_one_machine_are_two_hosts_and_a_home_keeps_its_name(hosts, tmp_path):
    one, other = hosts
    assert one.me != other.me
    assert Home(tmp_path / "a").host == one.node.home.host
    copied = tmp_path / "copy"
    copied.mkdir()
    (copied / "host").write_bytes((tmp_path / "a" / "host").read_bytes())
    assert Home(copied).host != one.node.home.host


def test_all_that_a_silent_receiver_left_is_taken_over(hosts, monkeypatch):
    monkeypatch.setattr("covnode.wiring.upkeep.BEAT_S", 0.0)
    mine, gone = hosts
    series_id = gone.record(arrived(1, name="recorded"))
    unrecorded = keep(gone.spool, 1)
    gone.spool.drafts.take()
    request = gone.ask()
    silent(gone)
    mine.take_over(gone)
    assert {row.file_name for row in mine.rows(InstanceRow)} >= {unrecorded.file_name}
    assert {row.receiver for row in mine.rows(SeriesRow)} == {mine.me}
    assert [path.name for path in mine.node.home.commitments.iterdir()] == [request]
    assert list(gone.node.home.commitments.iterdir()) == list(gone.node.home.incoming.iterdir()) == []
    assert not mine.rows(ExecutorRow)
    with mine.node.transaction() as session:
        waiting = series.in_state(session, SeriesState.RECEIVING, mine.me)
    assert series_id in {row.series_id for row in waiting}


def test_nothing_is_taken_from_a_receiver_that_beats_again(hosts):
    mine, back = hosts
    back.record(arrived(1))
    request = back.ask()
    with mine.node.transaction() as session:
        executors.beat(session, back.me, RECEIVER)
    mine.take_over(back)
    assert [row.receiver for row in mine.rows(SeriesRow)] == [back.me]
    assert [path.name for path in back.node.home.commitments.iterdir()] == [request]


def test_a_start_takes_up_what_a_release_for_one_host_left(hosts):
    mine, other = hosts
    request = mine.ask()
    old = mine.node.home.commitments.parent / request
    (mine.node.home.commitments / request).rename(old)
    stray = mine.node.home.incoming.parent / "4711-1"
    stray.write_bytes(b"what was coming in")
    mine_coming, _ = mine.spool.drafts.take()
    others_coming, _ = other.spool.drafts.take()
    stopping = threading.Event()
    mine.upkeep.start()
    thread = threading.Thread(target=mine.upkeep.run, args=(stopping,))
    thread.start()
    assert mine.upkeep.reconciled.wait(20)
    stopping.set()
    thread.join(20)
    assert [path.name for path in mine.node.home.commitments.iterdir()] == [request]
    assert not old.exists()
    assert not stray.exists()
    left = [path.name for path in (*mine.node.home.incoming.iterdir(), *other.node.home.incoming.iterdir())]
    assert left == [others_coming.rpartition("/")[2]], mine_coming
