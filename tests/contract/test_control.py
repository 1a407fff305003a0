"""Pause, priority and cancellation on both databases, also where two of them meet in the same moment."""

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from arriving import arrived
from engine_jobs import without_job

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.home import Home
from covnode.queue.engine import DbosQueue
from covnode.records.arrival import SliceFacts
from covnode.records.job import AnalysisState, DeliveryState, Job, JobKind, Priority
from covnode.records.series import DeidentifiedSeries
from covnode.settings import Settings
from covnode.store import analyses, arrivals, control, deliveries, queues, requeue, studies
from covnode.store.engine import make_engine
from covnode.store.sessions import transactions
from covnode.store.tables import AnalysisRow, DeliveryRow, QueueRow, SeriesRow, StudyRow
from covnode.wiring.node import Node, requeue_lost
from covnode.wiring.recorder import record

pytestmark = pytest.mark.xdist_group("dbos")


@pytest.fixture
def transaction(database_url):
    engine = make_engine(database_url)
    with transactions(engine)() as session:
        queues.register(session, ["analysis", "delivery.pacs"])
    yield transactions(engine)
    engine.dispose()


@pytest.fixture
def node(database_url, tmp_path):
    node = Node(Home(tmp_path / "home"), Settings.model_validate({"database": {"url": database_url}}))
    yield node
    node.engine.dispose()


def opened(transaction, name="a", **sheet):
    """Open the analysis of a series of a study of its own; return its id."""
    with transaction() as session:
        (series_id,) = arrivals.record(session, [arrived(name=name, study_digest=f"study-{name}")], "amend")
        session.get_one(SeriesRow, series_id).score_sheet = sheet
        return analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64)).subject_id


def delivering(transaction, name="a"):
    analysis_id = opened(transaction, name)
    with transaction() as session:
        return deliveries.open_delivery(session, analysis_id, "pacs").subject_id


def row_of(transaction, row, key):
    with transaction() as session:
        return session.get_one(row, key)


def claim(transaction, analysis_id, enqueues=1):
    with transaction() as session:
        return analyses.claim(session, analysis_id, enqueues, "host:worker-0")


class Meanwhile:
    """Runs something in a thread while this one holds a transaction open; says whether it had to wait."""

    def __init__(self, act):
        self.answers = []
        self._thread = threading.Thread(target=lambda: self.answers.append(act()))
        self._thread.start()

    def has_to_wait(self):
        self._thread.join(0.5)
        return self._thread.is_alive()

    def answer(self):
        self._thread.join(30)
        return self.answers[0]


def test_nothing_of_a_paused_queue_is_claimed_and_what_waits_goes_on_in_order(transaction):
    ids = {name: opened(transaction, name) for name in ("late", "first", "urgent")}
    with transaction() as session:
        session.get_one(AnalysisRow, ids["late"]).queued_at = utc_now() + timedelta(seconds=1)
        control.prioritise(session, ids["urgent"], Priority.STAT)
        queues.pause(session, "analysis", "the GPU is changed")
    assert claim(transaction, ids["first"]) is None
    row = row_of(transaction, AnalysisRow, ids["first"])
    assert (row.state, row.attempts, row.enqueues) == (AnalysisState.QUEUED, 0, 1)
    with transaction() as session:
        assert requeue.open_jobs(session) == []
        jobs = queues.resume(session, "analysis")
    assert [(job.subject_id, job.enqueues) for job in jobs] == [(ids["urgent"], 3), (ids["first"], 2), (ids["late"], 2)]
    assert claim(transaction, ids["first"]) is None  # the job of before the pause is void
    assert claim(transaction, ids["first"], 2) is not None


def test_a_pause_holds_one_queue_and_keeps_the_delay_of_what_waits(transaction):
    delivery_id = delivering(transaction)
    with transaction() as session:
        held = deliveries.claim(session, delivery_id, 1, "host:sender-0")
        deliveries.retry_later(session, held, 600.0, "the PACS is away")
        queues.pause(session, "delivery.pacs", None)
        assert deliveries.claim(session, delivery_id, 2, "host:sender-0") is None
    assert claim(transaction, opened(transaction, "b")) is not None
    with transaction() as session:
        (job,) = queues.resume(session, "delivery.pacs")
    assert (job.enqueues, job.queue) == (3, "delivery.pacs")
    assert 590 < job.delay_s <= 600
    with transaction() as session:
        assert deliveries.claim(session, delivery_id, 3, "host:sender-0") is not None


def test_what_lost_its_executor_while_the_queue_is_paused_waits_like_the_rest(transaction):
    analysis_id, delivery_id = opened(transaction), delivering(transaction, "b")
    frozen = claim(transaction, analysis_id)
    with transaction() as session:
        sending = deliveries.claim(session, delivery_id, 1, "host:sender-0")
        queues.pause(session, "analysis", None)
        queues.pause(session, "delivery.pacs", None)
    with transaction() as session:
        assert analyses.is_held(session, frozen)  # what is at work ends
    assert claim(transaction, analysis_id) is None
    with transaction() as session:
        assert deliveries.claim(session, delivery_id, 1, "host:sender-1") is None
    assert row_of(transaction, AnalysisRow, analysis_id).state == AnalysisState.QUEUED
    assert row_of(transaction, DeliveryRow, delivery_id).state == DeliveryState.QUEUED
    with transaction() as session, pytest.raises(StaleClaim):
        analyses.mark_analysed(session, frozen, [], {}, "cpu")
    with transaction() as session, pytest.raises(StaleClaim):
        deliveries.mark_ended(session, sending, DeliveryState.DELIVERED)
    with transaction() as session:
        assert analysis_id in [job.subject_id for job in queues.resume(session, "analysis")]


def test_a_pause_waits_for_a_claim_that_is_under_way_and_after_it_none_follows(transaction):
    first, second = opened(transaction, "a"), opened(transaction, "b")

    def pause():
        with transaction() as session:
            queues.pause(session, "analysis", None)
        return claim(transaction, second)

    with transaction() as session:
        held = analyses.claim(session, first, 1, "host:worker-0")
        meanwhile = Meanwhile(pause)
        assert meanwhile.has_to_wait()
    assert held is not None
    assert meanwhile.answer() is None
    assert row_of(transaction, AnalysisRow, first).state == AnalysisState.RUNNING


def test_a_claim_waits_for_a_pause_that_is_under_way_and_gets_nothing(transaction):
    analysis_id = opened(transaction)
    with transaction() as session:
        queues.pause(session, "analysis", None)
        meanwhile = Meanwhile(lambda: claim(transaction, analysis_id))
        assert meanwhile.has_to_wait()
    assert meanwhile.answer() is None
    assert row_of(transaction, AnalysisRow, analysis_id).state == AnalysisState.QUEUED


def test_a_claim_in_the_moment_of_the_resume_strands_nothing(transaction):
    """A job that comes into a paused queue just now is either enqueued again by the resume or claimed after it."""
    with transaction() as session:
        queues.pause(session, "analysis", None)
    known = opened(transaction, "known")
    with transaction() as session:
        jobs = queues.resume(session, "analysis")
        old = Meanwhile(lambda: claim(transaction, known))
        assert old.has_to_wait()
    assert [job.subject_id for job in jobs] == [known]
    assert old.answer() is None
    assert claim(transaction, known, jobs[0].enqueues) is not None


def test_what_is_lost_is_enqueued_again_but_not_into_a_paused_queue(node):
    analysis_id = opened(node.transaction)  # the job itself was never enqueued
    with node.transaction() as session:
        queues.pause(session, "analysis", None)
    requeue_lost(node)
    assert row_of(node.transaction, AnalysisRow, analysis_id).enqueues == 1
    with node.transaction() as session:
        queues.resume(session, "analysis")
    requeue_lost(node)
    assert row_of(node.transaction, AnalysisRow, analysis_id).enqueues == 3


def test_only_what_is_open_and_has_no_job_is_lost(node):
    def lost():
        with node.transaction() as session:
            return {job.subject_id for job in requeue.lost_jobs(session, node.queue.holds)}

    with_job, without_job, ended = (opened(node.transaction, name) for name in ("with", "without", "ended"))
    sent, waiting, postponed = (delivering(node.transaction, name) for name in ("sent", "waiting", "postponed"))
    with node.transaction() as session:
        of_deliveries = AnalysisRow.analysis_id.not_in((with_job, without_job, ended))
        session.execute(sa.update(AnalysisRow).where(of_deliveries).values(state=AnalysisState.ANALYSED))
        for analysis_id in (with_job, ended):
            node.queue.enqueue(session, Job(JobKind.ANALYSIS, analysis_id))
        held = deliveries.claim(session, postponed, 1, "host:sender-0")
        node.queue.enqueue(session, deliveries.retry_later(session, held, 600.0, "A700"))
        session.get_one(DeliveryRow, waiting).waits_for = "destination"
    assert lost() == {without_job, sent}
    jobs = "workflow_status" if node.engine.dialect.name == "sqlite" else "dbos.workflow_status"
    with node.engine.begin() as connection:
        connection.execute(
            sa.text(f"UPDATE {jobs} SET status = 'SUCCESS' WHERE workflow_uuid = :id"), {"id": f"analysis:{ended}:1"}
        )
    assert lost() == {without_job, sent, ended}
    requeue_lost(node)
    assert lost() == set()


def test_a_queue_is_paused_once_and_resumed_once_and_the_overview_says_so(transaction):
    delivering(transaction)
    claim(transaction, opened(transaction, "b"))
    with transaction() as session:
        queues.pause(session, "delivery.pacs", "upgrade")
    with transaction() as session, pytest.raises(StaleClaim):
        queues.pause(session, "delivery.pacs", None)
    with transaction() as session, pytest.raises(StaleClaim):
        queues.resume(session, "analysis")
    with transaction() as session:
        rows = {row["queue"]: row for row in queues.overview(session, ["delivery.archive"])}
    told = {name: (row["state"], row["queued"], row["at_work"], row["reason"]) for name, row in rows.items()}
    assert told == {
        "analysis": ("open", 1, 1, None),
        "delivery.archive": ("open", 0, 0, None),
        "delivery.pacs": ("paused", 1, 0, "upgrade"),
    }


def test_registering_keeps_a_pause(transaction):
    with transaction() as session:
        queues.pause(session, "analysis", None)
        queues.register(session, ["analysis", "delivery.other"])
    with transaction() as session:
        assert {row.name: row.paused_at is None for row in session.scalars(sa.select(QueueRow))} == {
            "analysis": False,
            "delivery.other": True,
            "delivery.pacs": True,
        }


def test_another_priority_is_a_new_job_and_the_old_one_is_void(transaction):
    analysis_id = opened(transaction)
    with transaction() as session:
        job = control.prioritise(session, analysis_id, Priority.BACKGROUND)
    assert job == Job(JobKind.ANALYSIS, analysis_id, 2, priority=Priority.BACKGROUND)
    assert claim(transaction, analysis_id) is None
    held = claim(transaction, analysis_id, 2)
    with transaction() as session, pytest.raises(StaleClaim):
        control.prioritise(session, analysis_id, Priority.STAT)
    with transaction() as session:
        analyses.mark_analysed(session, held, [], {}, "cpu")
        assert deliveries.open_delivery(session, analysis_id, "pacs").priority == Priority.BACKGROUND


def test_a_delivery_that_waits_keeps_its_delay_under_another_priority(transaction):
    delivery_id = delivering(transaction)
    with transaction() as session:
        deliveries.retry_later(session, deliveries.claim(session, delivery_id, 1, "a"), 600.0, "away")
        job = control.prioritise(session, delivery_id, Priority.STAT)
    assert (job.enqueues, job.priority) == (3, Priority.STAT)
    assert 590 < job.delay_s <= 600


@pytest.mark.parametrize(("sheet", "expected"), [({}, 10), ({"priority": "background"}, 20), ({"priority": None}, 10)])
def test_the_rules_give_an_analysis_its_priority_and_a_stat_study_overrules_them(transaction, sheet, expected):
    assert row_of(transaction, AnalysisRow, opened(transaction, **sheet)).priority == expected
    with transaction() as session:
        session.execute(sa.update(StudyRow).values(stat=True))
        (series_id,) = session.scalars(sa.select(SeriesRow.series_id))
        job = analyses.open_analysis(session, DeidentifiedSeries(series_id, 2, (), "0" * 64))
    assert job.priority == Priority.STAT


def test_a_study_that_becomes_stat_raises_what_is_open_of_it(node):
    transaction = node.transaction
    queued, running, other = (opened(transaction, name) for name in ("queued", "running", "other"))
    delivery_id = delivering(transaction, "sent")
    claim(transaction, running)
    with transaction() as session:
        urgent = [
            arrived(7, name=f"new-{name}", study_digest=f"study-{name}", facts=SliceFacts(stat=True))
            for name in ("queued", "running", "sent")
        ]
        record(node, session, urgent)
    rows = {key: row_of(transaction, AnalysisRow, key) for key in (queued, running, other)}
    delivery = row_of(transaction, DeliveryRow, delivery_id)
    assert {key: (row.priority, row.enqueues) for key, row in rows.items()} == {
        queued: (Priority.STAT, 2),
        running: (Priority.STAT, 1),
        other: (Priority.ROUTINE, 1),
    }
    assert (delivery.priority, delivery.enqueues) == (Priority.STAT, 2)
    raised = [
        Job(JobKind.ANALYSIS, queued, 2),
        Job(JobKind.DELIVERY, delivery_id, 2, destination="pacs"),
    ]
    with node.transaction() as session:
        assert without_job(session, DbosQueue(node.engine), raised) == []
    with transaction() as session:  # once: a person may lower it again
        control.prioritise(session, queued, Priority.ROUTINE)
        record(node, session, urgent)
    assert row_of(transaction, AnalysisRow, queued).priority == Priority.ROUTINE


def test_an_analysis_that_is_opened_while_its_study_becomes_stat_is_raised(transaction):
    with transaction() as session:
        (series_id,) = arrivals.record(session, [arrived()], "amend")
        study_id = session.get_one(SeriesRow, series_id).study_id

    def hurry():
        with transaction() as session:
            return control.hurry(session, StudyRow.study_id == study_id)

    with transaction() as session:
        studies.hold(session, series_id)
        session.execute(sa.update(SeriesRow).values(state_at=utc_now()))
        job = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
        meanwhile = Meanwhile(hurry)
        assert meanwhile.has_to_wait()
    assert [(raised.subject_id, raised.priority) for raised in meanwhile.answer()] == [(job.subject_id, Priority.STAT)]


def test_a_cancelled_job_is_not_claimed_is_said_to_be_and_can_be_retried(transaction):
    analysis_id, delivery_id = opened(transaction), delivering(transaction, "b")
    with transaction() as session:
        for job_id in (analysis_id, delivery_id):
            control.cancel(session, job_id, "wrong protocol")
    assert claim(transaction, analysis_id) is None
    with transaction() as session:
        assert deliveries.claim(session, delivery_id, 1, "a") is None
        assert requeue.open_jobs(session)[1:] == []  # the analysis of the delivery alone
    for row, key in ((AnalysisRow, analysis_id), (DeliveryRow, delivery_id)):
        found = row_of(transaction, row, key)
        assert (found.state, found.reason_code, found.reason) == ("cancelled", "cancelled", "wrong protocol")
    with transaction() as session, pytest.raises(StaleClaim):
        control.cancel(session, analysis_id, "again")
    with transaction() as session:
        assert analyses.retry(session, analysis_id).enqueues == 2
        assert deliveries.retry(session, delivery_id).enqueues == 2
    assert claim(transaction, analysis_id, 2).attempt == 1


def test_who_works_on_a_cancelled_analysis_has_lost_it(transaction):
    held = claim(transaction, analysis_id := opened(transaction))
    with transaction() as session:
        assert analyses.is_held(session, held)
        control.cancel(session, analysis_id, "by a person")
        assert not analyses.is_held(session, held)
    with transaction() as session, pytest.raises(StaleClaim):
        analyses.report_progress(session, held, 50)
    with transaction() as session, pytest.raises(StaleClaim):
        analyses.mark_analysed(session, held, [], {}, "cpu")


def test_what_is_being_sent_is_not_cancelled(transaction):
    delivery_id = delivering(transaction)
    with transaction() as session:
        deliveries.claim(session, delivery_id, 1, "a")
    with transaction() as session, pytest.raises(StaleClaim):
        control.cancel(session, delivery_id, "x")
