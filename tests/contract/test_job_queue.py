"""One suite on the fake queue and on the real adapter: what the rest of covnode may rely on."""

import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa
from engine_jobs import without_job

from covnode.queue.engine import DbosQueue, DbosRunner
from covnode.queue.memory import MemoryQueue, MemoryRunner
from covnode.records.job import Job, JobKind, Priority
from covnode.store.engine import make_engine

pytestmark = pytest.mark.xdist_group("dbos")


class Ran:
    """Remembers which jobs ran, and lets a test wait for them."""

    def __init__(self):
        self.subjects = []
        self._changed = threading.Condition()

    def __call__(self, subject_id, enqueues):
        with self._changed:
            self.subjects.append(subject_id)
            self._changed.notify_all()

    def wait_for(self, count, timeout_s=10):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.subjects) >= count, timeout_s), self.subjects


@pytest.fixture(params=["memory", "dbos"])
def queue_and_runner(request, database_url):
    if request.param == "memory":
        queue = MemoryQueue()
        runner = MemoryRunner(queue, JobKind.ANALYSIS)
    else:
        queue = DbosQueue(make_engine(database_url))
        runner = DbosRunner(database_url, JobKind.ANALYSIS, "host:test-0", 1, ["analysis"])
    yield queue, runner
    runner.stop(0)


def test_a_committed_job_runs_once_even_if_enqueued_twice(queue_and_runner, transaction):
    queue, runner = queue_and_runner
    ran = Ran()
    for _ in range(2):
        with transaction() as session:
            queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-1"))
    runner.start(ran)
    with transaction() as session:
        queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-2"))
    ran.wait_for(2)
    assert ran.subjects == ["ana-1", "ana-2"]


def test_a_rolled_back_enqueue_leaves_no_job(queue_and_runner, transaction):
    queue, runner = queue_and_runner
    ran = Ran()

    def enqueue_and_fail():
        with transaction() as session:
            queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-lost"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        enqueue_and_fail()
    with transaction() as session:
        queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-kept"))
    runner.start(ran)
    ran.wait_for(1)
    assert ran.subjects == ["ana-kept"]


def test_the_next_enqueue_of_a_subject_is_a_new_job_and_waits_for_its_delay(queue_and_runner, transaction):
    queue, runner = queue_and_runner
    ran = Ran()
    started = time.monotonic()
    with transaction() as session:
        queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-1", enqueues=1))
        queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-1", enqueues=2, delay_s=1.0))
    runner.start(ran)
    ran.wait_for(2)
    assert ran.subjects == ["ana-1", "ana-1"]
    assert time.monotonic() - started >= 1.0


def test_a_destination_has_a_queue_of_its_own_and_urgent_jobs_come_first(database_url, transaction):
    queue = DbosQueue(make_engine(database_url))
    ran = Ran()
    runner = DbosRunner(database_url, JobKind.DELIVERY, "host:sender-0", 1, ["delivery.pacs"])
    with transaction() as session:
        queue.enqueue(session, Job(JobKind.DELIVERY, "del-elsewhere", destination="other"))
        for subject, priority in (("del-later", 20), ("del-routine", 10), ("del-stat", Priority.STAT)):
            queue.enqueue(session, Job(JobKind.DELIVERY, subject, destination="pacs", priority=priority))
    try:
        runner.start(ran)
        ran.wait_for(3)
    finally:
        runner.stop(0)
    assert ran.subjects == ["del-stat", "del-routine", "del-later"]


def test_the_queue_says_which_jobs_will_not_run_any_more(queue_and_runner, transaction):
    queue, runner = queue_and_runner
    waiting, never = Job(JobKind.ANALYSIS, "ana-1"), Job(JobKind.ANALYSIS, "ana-lost")
    with transaction() as session:
        queue.enqueue(session, waiting)
    with transaction() as session:
        assert without_job(session, queue, [waiting, never]) == [never]
    runner.start(Ran())


_CRASHING_WORKER = """
import os, sys, threading
from covnode.queue.engine import DbosRunner
from covnode.records.job import JobKind
runner = DbosRunner(sys.argv[1], JobKind.ANALYSIS, sys.argv[2], 1, ["analysis"])
runner.start(lambda *_: os._exit(9))
threading.Event().wait(20)
"""


def crash_in_the_middle_of_the_job(url, executor_id):
    done = subprocess.run([sys.executable, "-c", _CRASHING_WORKER, url, executor_id], check=False, timeout=60)
    assert done.returncode == 9


def attempts_of(url, job_id):
    with make_engine(url).connect() as connection:
        query = sa.text(f"SELECT recovery_attempts FROM {engine_table(url)} WHERE workflow_uuid = :id")
        return connection.execute(query, {"id": job_id}).scalar_one()


def engine_table(url):
    return "workflow_status" if url.startswith("sqlite") else "dbos.workflow_status"


def test_a_job_whose_executor_died_runs_again_when_it_comes_back(database_url, transaction):
    queue = DbosQueue(make_engine(database_url))
    with transaction() as session:
        queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-1"))
    crash_in_the_middle_of_the_job(database_url, "host:worker-0")
    ran = Ran()
    runner = DbosRunner(database_url, JobKind.ANALYSIS, "host:worker-0", 1, ["analysis"])
    try:
        runner.start(ran)
        ran.wait_for(1)
    finally:
        runner.stop(0)
    assert ran.subjects == ["ana-1"]


def test_another_executor_takes_over_only_after_recover_and_the_engine_keeps_its_count(database_url, transaction):
    """The contract of the engine's private recovery: the job moves, and its count of attempts is not reset."""
    queue = DbosQueue(make_engine(database_url))
    with transaction() as session:
        queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-1"))
    crash_in_the_middle_of_the_job(database_url, "host-a:worker-0")
    ran = Ran()
    runner = DbosRunner(database_url, JobKind.ANALYSIS, "host-b:worker-0", 1, ["analysis"])
    try:
        runner.start(ran)
        with transaction() as session:
            queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-2"))
        ran.wait_for(1)
        assert ran.subjects == ["ana-2"]
        runner.recover(["host-a:worker-0"])
        ran.wait_for(2)
    finally:
        runner.stop(0)
    assert ran.subjects == ["ana-2", "ana-1"]
    assert attempts_of(database_url, "analysis:ana-1:1") == 2


def test_the_engine_stores_ids_and_nothing_else(database_url, transaction):
    queue = DbosQueue(make_engine(database_url))
    ran = Ran()
    runner = DbosRunner(database_url, JobKind.ANALYSIS, "host:worker-0", 1, ["analysis"])

    def fails_with_a_name(subject_id, enqueues):
        ran(subject_id, enqueues)

    try:
        with transaction() as session:
            queue.enqueue(session, Job(JobKind.ANALYSIS, "ana-1"))
        runner.start(fails_with_a_name)
        ran.wait_for(1)
    finally:
        runner.stop(0)
    with make_engine(database_url).connect() as connection:
        row = connection.execute(sa.text(f"SELECT * FROM {engine_table(database_url)}")).mappings().one()
    assert row["name"] == row["queue_name"] == "analysis"
    assert row["workflow_uuid"] == "analysis:ana-1:1"
    assert "pickle" not in str(row["serialization"])
