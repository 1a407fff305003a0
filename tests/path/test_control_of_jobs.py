"""What an operator does with jobs on a running node: cancel, pause, resume; and a worker for each device."""

import os
import select
import subprocess

import pytest
import sqlalchemy as sa
from engine_jobs import without_job
from processes import covnode, received, wait_until

from covnode.cli.local_node import covnode_command
from covnode.clock import utc_now
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.job import AnalysisState, DeliveryState, Job, JobKind
from covnode.settings import load_settings
from covnode.store.tables import AnalysisRow, DeliveryRow, ExecutorRow
from covnode.wiring.node import open_node

pytestmark = pytest.mark.slow

CANCELLED_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def large_phantom():
    """One that keeps the inference child in native code for long enough."""
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=96, seed=4, size=384)


def run(node, *arguments):
    done = covnode(*arguments, "--home", str(node.root))
    assert done.returncode == 0, done.stderr
    return done.stdout


def row_of(node, row):
    with node.transaction() as session:
        return session.scalars(sa.select(row)).one()


def is_void(node, kind, subject_id, destination=None):
    """Whether the first job of a subject came to the worker or sender, and ended there."""
    job = Job(kind, subject_id, destination=destination)
    with node.transaction() as session:
        return without_job(session, open_node(node.home).queue, [job]) == [job]


def test_a_cancelled_analysis_stops_within_two_seconds_and_can_be_tried_again(node, pacs, write_series, large_phantom):
    node.push(write_series(phantom=large_phantom))
    wait_until(lambda: node.jobs("analysis", AnalysisState.RUNNING))
    wait_until(lambda: row_of(node, AnalysisRow).progress_percent >= 10)
    (child,) = node.inference_children()
    watch = select.poll()
    watch.register(os.pidfd_open(child), select.POLLIN)
    job_id = row_of(node, AnalysisRow).analysis_id
    command = covnode_command("jobs", "cancel", job_id, "--reason", "wrong protocol", "--home", str(node.root))
    with subprocess.Popen(command):  # its end is not waited for: the child's is what counts
        assert watch.poll(60_000)
        ended_at = utc_now()
    row = row_of(node, AnalysisRow)
    assert (row.state, row.reason) == (AnalysisState.CANCELLED, "wrong protocol")
    assert 0 < (ended_at - row.state_at).total_seconds() < CANCELLED_WITHIN_S
    run(node, "jobs", "retry", job_id)
    assert {ds.Modality for ds in received(pacs, 2)} == {"SEG", "SR"}
    assert child not in node.inference_children()
    (job,) = node.jobs("analysis")
    assert (job["state"], job["attempts"]) == (AnalysisState.ANALYSED, 1)
    wait_until(lambda: node.jobs("delivery", DeliveryState.DELIVERED))


def test_paused_queues_hold_what_waits_and_a_resume_lets_it_go(node, pacs, write_series):
    (destination,) = load_settings(node.home).peers
    run(node, "queues", "pause", "analysis", "--reason", "the GPU is changed")
    run(node, "queues", "pause", f"delivery.{destination}")
    node.push(write_series())
    wait_until(lambda: node.jobs("analysis", AnalysisState.QUEUED))
    analysis = row_of(node, AnalysisRow)
    wait_until(lambda: is_void(node, JobKind.ANALYSIS, analysis.analysis_id))
    assert (row_of(node, AnalysisRow).state, row_of(node, AnalysisRow).attempts) == (AnalysisState.QUEUED, 0)
    assert "paused" in run(node, "jobs", "list")
    assert "the GPU is changed" in run(node, "queues", "list")
    assert "analysis is paused since" in run(node, "doctor")
    assert "with 1 queued" in run(node, "queues", "resume", "analysis")
    wait_until(lambda: node.jobs("delivery", DeliveryState.QUEUED))
    delivery = row_of(node, DeliveryRow)
    wait_until(lambda: is_void(node, JobKind.DELIVERY, delivery.delivery_id, destination))
    assert row_of(node, DeliveryRow).attempts == 0
    assert pacs.waiting == 0
    run(node, "queues", "resume", f"delivery.{destination}")
    assert {ds.Modality for ds in received(pacs, 2)} == {"SEG", "SR"}
    assert not [line for line in node.log_lines if line["event"] == "job_requeued"]


def test_each_device_has_one_worker_with_an_id_of_its_own(idle_node):
    idle_node.init()
    idle_node.configure(worker__devices='["cpu", "cuda:0"]')
    idle_node.start()

    def workers():
        with idle_node.transaction() as session:
            ids = session.scalars(sa.select(ExecutorRow.executor_id).where(ExecutorRow.role == "worker"))
            return sorted(each.partition(":")[2] for each in ids)

    wait_until(lambda: workers() == ["worker-0", "worker-1"])
    devices = {line["slot"]: line["device"] for line in idle_node.log_lines if line["event"] == "worker_device"}
    assert devices == {0: "cpu", 1: "cuda:0"}
    home = ("--home", str(idle_node.root))
    assert "a worker runs on" in covnode("work", *home, "--slot", "1").stderr
    assert "worker 2 has no device" in covnode("work", *home, "--slot", "2").stderr
    # Slots that the settings assign anew meet the device, not only the slot.
    idle_node.configure(worker__devices='["cuda:1", "cuda:2", "cpu"]')
    assert "runs on cpu: stop it first" in covnode("work", *home, "--slot", "2").stderr
