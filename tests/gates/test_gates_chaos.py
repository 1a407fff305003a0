"""``covnode chaos`` fails when a safeguard of the node is broken, and its failpoints are its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from covnode.chaos.certify import certify
from covnode.chaos.ground import Surroundings
from covnode.chaos.plan import full, narrowed
from covnode.chaos.proof import Fate
from covnode.chaos.switches import Action
from covnode.cli.chaos import new_node
from covnode.cli.local_node import NODE_AE, covnode_command, free_port

HERE = Path(__file__).parent
PATIENCE_S = 25.0


@pytest.fixture
def run_broken(tmp_path, monkeypatch):
    """Return a function that certifies a node with a broken safeguard, in one case."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", ""))))

    def run(safeguard, point, action):
        monkeypatch.setenv("BROKEN_SAFEGUARD", safeguard)
        around = Surroundings(tmp_path / "chaos", new_node, NODE_AE, free_port, "broken_node", PATIENCE_S)
        return certify(narrowed(full(), [point], [action]), around, lambda _: None, postgresql=False)

    return run


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize(
    ("safeguard", "point", "action", "fate"),
    [
        ("reaper", "work.claimed", Action.LOST, Fate.LOST),
        ("transaction", "receive.hand_over.uncommitted", Action.KILL, Fate.LOST),
        ("commitment", "receive.commitment.heard", Action.KILL, Fate.UNCOMMITTED),
    ],
)
def test_a_node_that_loses_what_it_answered_for_fails(safeguard, point, action, fate, run_broken):
    certificate = run_broken(safeguard, point, action)
    assert all(run.has_fired for run in certificate.runs)
    assert [fate.fate for fate in certificate.fates] == [fate]
    assert certificate.failures


@pytest.mark.chaos
@pytest.mark.slow
def test_a_node_whose_fences_do_not_hold_fails(run_broken):
    certificate = run_broken("fencing", "work.analysed", Action.FREEZE)
    assert all(run.has_fired for run in certificate.runs)
    assert certificate.stale_writes
    assert certificate.failures


@pytest.mark.chaos
@pytest.mark.slow
def test_an_unbroken_node_passes_the_same_cases_by_the_command(tmp_path):
    points = ("work.claimed", "receive.hand_over.uncommitted", "work.analysed")
    only = [word for point in points for word in ("--only", point)]
    out = tmp_path / "certificate.json"
    command = covnode_command("chaos", "--full", *only, "--action", "kill", "--action", "host_lost", "--out", str(out))
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    certificate = json.loads(out.read_text())
    assert json.loads(done.stdout) == certificate
    assert certificate["verdict"] == "passed"
    assert {case["reached"] for case in certificate["cases"]} == {1}
    assert certificate["counts"]["delivered"] == certificate["counts"]["series"] > 0


def test_no_other_command_loads_a_failpoint():
    script = "import sys, covnode.cli.app; print([name for name in sys.modules if name.startswith('covnode.chaos')])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "work.flown"), "is no transition"),
        (("--action", "burn"), "is no action"),
        (("--quick", "--only", "door.told", "--action", "freeze"), "Nothing of --quick is left"),
        (("--work", str(HERE)), "is not empty"),
    ],
)
def test_wrong_usage_names_the_way_out(arguments, said):
    done = subprocess.run(covnode_command("chaos", *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
