"""A worker at its start: says which models are verified and which refused, and begins on none that is."""

import json
import os
import subprocess

import pytest
from own_models import WRONGS, own_model, tamper
from structlog.testing import capture_logs

from covnode.cli.local_node import covnode_command
from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.home import Home
from covnode.sections import WorkerSettings
from covnode.wiring.model_store import report_models

STARTS_WITHIN_S = 120


def started(home):
    """Start a worker, and return what it says until it ends or is past its start, and its exit code."""
    command = covnode_command("work", "--home", str(home.root))
    environment = {**os.environ, "COVNODE__WORKER__SEVERITY": "own-severity"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as worker:
        try:
            return worker.communicate(timeout=STARTS_WITHIN_S)[1], worker.returncode
        finally:
            worker.kill()


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_worker_whose_model_is_refused_says_so_and_ends(run, tmp_path, wrong):
    run("init", "--bind", "127.0.0.1", "--port", "11557")
    home, trap = Home(tmp_path / "home"), tmp_path / "ran"
    wrong(own_model(home.models, "own-severity"), trap)
    said, code = started(home)
    assert code == 1
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    refused = [line for line in lines if line["event"] in {"model_refused", "models_refused"}]
    assert refused
    assert all(line["level"] == "error" and WRONGS[wrong] in line["reason"] for line in refused)
    assert not trap.exists()


def test_a_refused_model_that_serves_nothing_is_told_and_hinders_nobody(tmp_path):
    home = Home(tmp_path)
    tamper(own_model(home.models, "own-severity"), None)
    with capture_logs() as logs:
        report_models(WorkerSettings(), home)
    told = {(line["event"], line.get("model") or line["name"]) for line in logs}
    assert told == {
        ("model_verified", "covid-classifier-demo"),
        ("model_verified", "severity-demo"),
        ("model_refused", "own-severity"),
    }
    with pytest.raises(WeightsMismatch, match="own-severity"):
        report_models(WorkerSettings(severity="own-severity"), home)
    with pytest.raises(ConfigurationError, match="install r231covidweb"):
        report_models(WorkerSettings(lungs="r231covidweb"), home)


@pytest.mark.parametrize("task", ["classification", "severity"])
@pytest.mark.parametrize("name", ["auto", "density"])
def test_what_only_the_lungs_can_be_is_refused_for_another_task(tmp_path, task, name):
    with pytest.raises(ConfigurationError, match=name):
        report_models(WorkerSettings(**{task: name}), Home(tmp_path))
