"""``covnode jobs`` and ``covnode queues`` on a home without processes."""

import json

import pytest
from arriving import arrived
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, arrivals
from covnode.store.tables import AnalysisRow
from covnode.wiring.node import open_node


@pytest.fixture
def run(run):
    """On a node with a PACS."""
    run("init", "--bind", "127.0.0.1", "--port", "11555", "--pacs", "PACS@127.0.0.1:104")
    return run


@pytest.fixture
def node(run, tmp_path):
    return open_node(Home(tmp_path / "home"))


@pytest.fixture
def analysis_id(node):
    with node.transaction() as session:
        (series_id,) = arrivals.record(session, [arrived()], "amend")
        job = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
        node.queue.enqueue(session, job)
        return job.subject_id


def test_another_priority_is_a_job_of_its_own_in_the_queue(run, node, analysis_id):
    assert "queued with priority stat" in run("jobs", "priority", analysis_id, "stat")
    with node.transaction() as session:
        row = session.get_one(AnalysisRow, analysis_id)
    assert (row.priority, row.enqueues) == (1, 2)
    job = json.loads(run("jobs", "list", "--json"))[0]
    assert (job["priority"], job["paused"]) == ("stat", False)
    assert CliRunner().invoke(app, ["jobs", "priority", analysis_id, "urgent"]).exit_code == 2


def test_a_cancelled_job_says_why_and_is_cancelled_once(run, analysis_id):
    run("jobs", "cancel", analysis_id, "--reason", "wrong protocol")
    shown = json.loads(run("jobs", "show", analysis_id, "--json"))
    assert (shown["state"], shown["reason"], shown["host"]) == ("cancelled", "wrong protocol", None)
    for command in (["cancel", analysis_id], ["priority", analysis_id, "stat"], ["cancel", "ana-absent"]):
        with pytest.raises(ConfigurationError, match="see 'covnode jobs list'"):
            run("jobs", *command)
    assert "queued again" in run("jobs", "retry", analysis_id)


def test_the_history_of_a_job_names_its_host_and_its_last_error(run, node, analysis_id):
    with node.transaction() as session:
        held = analyses.claim(session, analysis_id, 1, "gpu-host:worker-1")
        analyses.note_interruption(session, held, "the analysis took longer than 60 s")
        held = analyses.claim(session, analysis_id, 1, "gpu-host:worker-1")
        analyses.mark_analysed(session, held, [], {"lungs": 1.0}, "cuda:1")
    shown = json.loads(run("jobs", "show", analysis_id, "--json"))
    assert {key: shown[key] for key in ("host", "executor_id", "device", "attempts", "last_error", "reason")} == {
        "host": "gpu-host",
        "executor_id": "gpu-host:worker-1",
        "device": "cuda:1",
        "attempts": 2,
        "last_error": "the analysis took longer than 60 s",
        "reason": None,
    }
    assert all(shown[key] for key in ("queued_at", "first_claimed_at", "state_at"))


def test_a_pause_is_seen_wherever_one_looks(run, analysis_id):
    assert "covnode queues resume analysis" in run("queues", "pause", "analysis", "--reason", "new GPU")
    rows = {row["queue"]: row for row in json.loads(run("queues", "list", "--json"))}
    assert set(rows) == {"analysis", "delivery.pacs"}
    told = rows["analysis"]
    assert (told["state"], told["queued"], told["at_work"], told["reason"]) == ("paused", 1, 0, "new GPU")
    assert "paused" in run("jobs", "list")
    assert json.loads(run("jobs", "list", "--json"))[0]["paused"]
    doctor = {row["check"]: row for row in json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)}
    assert doctor["queues"]["ok"]
    assert "analysis is paused since" in doctor["queues"]["finding"]
    assert "with 1 queued" in run("queues", "resume", "analysis")
    assert "paused" not in run("jobs", "list")


def test_a_queue_that_is_not_there_or_in_that_state_is_refused_with_the_way_out(run):
    with pytest.raises(ConfigurationError, match=r"no queue analyses, only analysis, delivery\.pacs"):
        run("queues", "pause", "analyses")
    with pytest.raises(ConfigurationError, match="is not paused"):
        run("queues", "resume", "analysis")
    run("queues", "pause", "delivery.pacs")
    with pytest.raises(ConfigurationError, match="is paused already"):
        run("queues", "pause", "delivery.pacs")
