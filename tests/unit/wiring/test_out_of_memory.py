"""A series that needs more memory than there is: with less at once, then on the CPU, and no attempt is lost for it."""

import itertools
import json

import pytest
import scarce_memory
import torch
from r231_node import analyse, node_with_r231

from covnode.errors import OutOfMemory
from covnode.records.job import AnalysisState
from covnode.sections import WorkerSettings
from covnode.wiring import inference, worker
from covnode.wiring.plan import InferencePlan, within_memory


@pytest.fixture
def analysed(tmp_path, monkeypatch):
    """Return a function that analyses on a device where memory ends as it says; gives the row and what was logged."""

    def run(how, *, cuda, cpu=99):
        monkeypatch.setenv(scarce_memory.LIMITS, json.dumps([how, {"cpu": cpu, "cuda:0": cuda}]))
        monkeypatch.setattr(worker, "_infer_in_child", scarce_memory.infer_with_scarce_memory)
        return analyse(node_with_r231(tmp_path), "cuda:0")

    return run


@pytest.mark.slow
def test_a_gpu_with_too_little_memory_gets_fewer_slices_at_once(analysed):
    row, told = analysed("device", cuda=4)
    assert (row.state, row.attempts, row.reason) == (AnalysisState.ANALYSED, 1, None)
    assert row.device == "cuda:0; out of memory on cuda:0 (slices at once: 20)"
    assert [(line["device"], line["slices_at_once"], line["next_slices_at_once"]) for line in told] == [
        ("cuda:0", 20, 4)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["device", "killed"])
def test_then_the_cpu_takes_it_also_when_the_kernel_ended_the_child(analysed, monkeypatch, how):
    monkeypatch.setattr(worker, "_kernel_kills", itertools.count().__next__)
    row, told = analysed(how, cuda=0)
    assert (row.state, row.attempts) == (AnalysisState.ANALYSED, 1)
    assert row.device.startswith("cpu; out of memory on cuda:0 (slices at once: 20); out of memory on cuda:0")
    assert [line["next_device"] for line in told] == ["cuda:0", "cpu"]


@pytest.mark.slow
def test_a_series_that_the_cpu_cannot_hold_either_fails_and_says_so(analysed):
    row, _told = analysed("host", cuda=0, cpu=0)
    assert (row.state, row.reason_code, row.attempts) == (AnalysisState.FAILED, "OutOfMemory", 1)
    assert row.reason == (
        "there is too little memory for this series on cuda:0 (slices at once: 20), cuda:0 (slices at once: 4), cpu"
    )
    assert row.last_error == row.reason


@pytest.mark.slow
def test_a_child_that_was_killed_by_somebody_else_is_a_crash(analysed, monkeypatch):
    monkeypatch.setattr(worker, "_kernel_kills", lambda: 7)
    row, told = analysed("killed", cuda=0)
    assert (row.state, row.reason_code, row.attempts) == (AnalysisState.FAILED, "given_up", 3)
    assert "ProcessExpired" in row.last_error
    assert told == []


def test_a_plan_for_the_cpu_alone_has_nothing_less(tmp_path):
    def fails(plan):
        raise OutOfMemory("x")

    plan = InferencePlan(WorkerSettings(), tmp_path, tmp_path)
    with pytest.raises(OutOfMemory, match="too little memory for this series on cpu"):
        within_memory(plan, fails)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("x")])
def test_what_memory_errors_there_are_is_said_by_one(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(inference, "load_models", fails)
    plan = InferencePlan(WorkerSettings(), tmp_path, tmp_path / "out")
    with pytest.raises(OutOfMemory, match="on cpu"):
        inference.infer_series(plan, None, None, None)
