"""Hosts that share no files, on both databases: whose series it is, whose delivery, and what waits for whom."""

import os
import shutil
import threading

import pytest
from kept_node import AT_ONCE, LONG_AGO
from spooled import keep

from covnode.deidentify import key_file
from covnode.errors import ConfigurationError, StaleClaim, TransientError
from covnode.home import Home
from covnode.receive.spool import Spool
from covnode.records.job import AnalysisState, DeliveryState, JobKind, SeriesState, WaitsFor, queue_name
from covnode.records.series import DeidentifiedSeries
from covnode.settings import Settings
from covnode.store import analyses, arrivals, deliveries, executors, queues, requeue, series, waiting
from covnode.store.commitments import files_of
from covnode.store.executors import RECEIVER
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow
from covnode.wiring.choosing import Choosing
from covnode.wiring.commitment_verdicts import Verdicts
from covnode.wiring.handover import Handover
from covnode.wiring.identity_changes import left_elsewhere
from covnode.wiring.lacking import quarantine_without_files, refuse_without_files
from covnode.wiring.node import Node
from covnode.wiring.reconciliation import reconcile
from covnode.wiring.recorder import record
from covnode.wiring.retention import Retention

pytestmark = pytest.mark.xdist_group("dbos")


class Host:
    """A host with files of its own."""

    def __init__(self, root, database_url, keys, *, url="s3://bucket"):
        values = {"database": {"url": database_url}, "objects": {"url": url}, "retention": AT_ONCE}
        self.node = Node(Home(root), Settings.model_validate(values))
        self.node.__dict__["handover"] = Handover(None)  # what lies in the store is no part of these tests
        for folder in (*self.node.home.folders, self.node.home.locks):
            folder.mkdir(parents=True, exist_ok=True)
        if not keys.exists():
            key_file.create(keys)
        self.spool = Spool(self.node.home.spool, self.node.home.incoming, key_file.load(keys).digest)
        self.me = self.node.executor_id(RECEIVER)

    def receive(self, *numbers, of=1):
        """Receive and record instances; return their series."""
        kept = [keep(self.spool, number, of) for number in numbers]
        for path in self.files:
            os.utime(path, LONG_AGO)
        with self.node.transaction() as session:
            return record(self.node, session, kept)[0]

    @property
    def files(self):
        return sorted(self.node.home.spool.glob("*/*.dcm"))

    def beat(self):
        with self.node.transaction() as session:
            executors.beat(session, self.me, RECEIVER)

    def adopt(self):
        with self.node.transaction() as session:
            return series.adopt(session, self.me, self.node.spool)

    def row(self, series_id):
        with self.node.transaction() as session:
            return session.get_one(SeriesRow, series_id)

    def move(self, series_id, state, **values):
        with self.node.transaction() as session:
            row = session.get_one(SeriesRow, series_id)
            row.state = state
            for name, value in values.items():
                setattr(row, name, value)

    def quarantine_without_files(self, series_id):
        with self.node.transaction() as session:
            return quarantine_without_files(self.node, session, session.get_one(SeriesRow, series_id))

    def delivered(self, series_id, state=DeliveryState.DELIVERED):
        """Have the series analysed and delivered; return the delivery's job."""
        self.move(series_id, SeriesState.HANDED_OVER)
        with self.node.transaction() as session:
            analysis_id = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64)).subject_id
            session.get_one(AnalysisRow, analysis_id).state = AnalysisState.ANALYSED
            job = deliveries.open_delivery(session, analysis_id, "pacs")
            session.get_one(DeliveryRow, job.subject_id).state = state
        return job

    def reconcile(self):
        reconcile(self.node, self.spool, threading.Event())

    def removed(self):
        return [outcome.series_id for outcome in Retention(self.node).run() if outcome.removed]


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "pseudonyms.key"


@pytest.fixture
def hosts(tmp_path, database_url, keys):
    both = [Host(tmp_path / name, database_url, keys) for name in ("a", "b")]
    yield both
    for host in both:
        host.node.engine.dispose()


def test_a_dead_hosts_series_are_adopted_by_nobody_but_who_comes_with_its_spool(hosts, tmp_path, database_url, keys):
    a, b = hosts
    b.beat()
    series_id = a.receive(1, 2)
    assert b.adopt() == 0
    assert b.row(series_id).receiver == a.me
    shutil.copytree(a.node.home.spool, tmp_path / "moved" / "spool")
    heir = Host(tmp_path / "moved", database_url, keys)
    heir.beat()
    assert heir.me != a.me
    assert (heir.adopt(), heir.row(series_id).receiver) == (1, heir.me)
    heir.node.engine.dispose()


def test_what_lay_in_a_spool_before_hosts_were_apart_is_that_hosts(hosts, tmp_path, database_url, keys):
    a, b = hosts
    before = Host(tmp_path / "a", database_url, keys, url="")
    assert before.node.spool is None
    series_id = before.receive(1, 2)
    assert before.row(series_id).spool is None
    before.node.engine.dispose()
    for host in (b, a):
        host.reconcile()
    assert a.row(series_id).spool == a.node.spool != b.node.spool


def test_the_sender_beside_the_spool_delivers(hosts):
    a, b = hosts
    job = a.delivered(a.receive(1), DeliveryState.QUEUED)
    assert job.queue == queue_name(JobKind.DELIVERY, "pacs", a.node.spool)
    assert job.queue not in {queue_name(JobKind.DELIVERY, "pacs", b.node.spool), queue_name(JobKind.DELIVERY, "pacs")}
    with a.node.transaction() as session:
        assert requeue.open_jobs(session) == [job]
        queues.pause(session, queue_name(JobKind.DELIVERY, "pacs"), None)
        assert requeue.open_jobs(session) == []
        (resumed,) = queues.resume(session, queue_name(JobKind.DELIVERY, "pacs"))
        assert resumed.queue == job.queue
        assert deliveries.send_on(session, job.subject_id, resumed.enqueues) is None
        session.get_one(DeliveryRow, job.subject_id).waits_for = WaitsFor.STUDY
        (released,) = waiting.release(session, 10)
        assert released.queue == job.queue


def test_a_delivery_that_was_queued_for_any_host_is_sent_on_once(hosts):
    a, _ = hosts
    job = a.delivered(a.receive(1), DeliveryState.QUEUED)
    with a.node.transaction() as session:
        session.get_one(DeliveryRow, job.subject_id).spool = None
    with a.node.transaction() as session:
        moved = deliveries.send_on(session, job.subject_id, job.enqueues)
        assert (moved.queue, moved.enqueues) == (job.queue, 2)
        assert deliveries.send_on(session, job.subject_id, job.enqueues) is None


def test_a_series_in_parts_on_two_hosts_waits_until_one_has_it_whole(hosts):
    a, b = hosts
    series_id = a.receive(1, 2)
    b.receive(3)
    assert (b.row(series_id).receiver, b.row(series_id).spool) == (b.me, b.node.spool)
    b.move(series_id, SeriesState.COMPLETE)
    code, reason = b.quarantine_without_files(series_id)
    assert code == series.FILES_ELSEWHERE
    assert reason.startswith("2 of its 3 files came in over another host: have the whole series sent again over one")
    a.receive(1, 2, 3)
    assert (a.row(series_id).state, a.row(series_id).spool) == (SeriesState.RECEIVING, a.node.spool)
    a.move(series_id, SeriesState.COMPLETE)
    assert a.quarantine_without_files(series_id) is None


def test_the_host_with_the_spool_removes_and_what_another_one_has_of_it_goes_then(hosts):
    a, b = hosts
    series_id = a.receive(1, 2)
    a.delivered(series_id)
    b.receive(2)  # sent again over the other host, and of no effect
    assert b.row(series_id).spool == a.node.spool
    assert b.removed() == []
    b.reconcile()
    assert len(b.files) == 1, "nothing goes while the series is held"
    assert a.removed() == [series_id]
    assert a.files == []
    b.reconcile()
    assert b.files == []
    assert not b.row(series_id).files_held
    with b.node.transaction() as session, pytest.raises(ConfigurationError, match="on another host"):
        refuse_without_files(b.node, session, series_id)


def test_what_is_sent_again_after_that_is_the_other_hosts(hosts):
    a, b = hosts
    series_id = a.receive(1, 2)
    a.delivered(series_id)
    assert a.removed() == [series_id]
    kept = [keep(b.spool, number) for number in (1, 2)]
    b.reconcile()
    assert len(b.files) == len(kept)
    assert (b.row(series_id).files_held, b.row(series_id).spool) == (True, b.node.spool)


def test_another_hosts_series_is_not_judged_here_and_its_kept_sheet_is_taken(hosts):
    a, b = hosts
    series_id = a.receive(1, 2)
    a.move(series_id, SeriesState.COMPLETE)
    with pytest.raises(StaleClaim):
        Choosing(b.node)._sheet(b.row(series_id))
    sheet = Choosing(a.node)._sheet(a.row(series_id))
    assert Choosing(b.node)._sheet(b.row(series_id)) == sheet


def test_a_commitment_about_another_hosts_instance_waits_while_that_host_is_silent(hosts):
    a, b = hosts
    series_id = a.receive(1)
    with b.node.transaction() as session:
        sop_digest = series.input_of(session, series_id)[0].sop_digest
        (held,) = files_of(session, [sop_digest])[sop_digest]
    verdicts = Verdicts(b.node, b.spool)
    with pytest.raises(TransientError):
        verdicts._is_durable(held)
    a.beat()
    assert verdicts._is_durable(held)
    assert not verdicts._is_durable(held._replace(files_held=False))
    assert Verdicts(a.node, a.spool)._is_durable(held)


def test_an_erasure_names_what_other_hosts_have(hosts):
    a, b = hosts
    series_id = a.receive(1)
    assert left_elsewhere(a.node, [series_id]) == []
    assert left_elsewhere(b.node, [series_id]) == [series_id]


def test_files_of_another_host_are_not_missed_here(hosts):
    a, b = hosts
    a.receive(1)
    with b.node.transaction() as session:
        assert arrivals.file_names(session, spool=b.node.spool) == []
        assert len(arrivals.file_names(session, spool=a.node.spool)) == 1
