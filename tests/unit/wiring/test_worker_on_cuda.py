"""The worker on a real CUDA device: behind its confinement, and with too little memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scarce_memory
import torch
from r231_node import analyse, node_with_r231

from covnode.deidentify import key_file
from covnode.home import Home
from covnode.infer.bundles import load_bundle
from covnode.infer.classification import Classifier
from covnode.records.job import AnalysisState
from covnode.sections import WorkerSettings
from covnode.store.engine import make_engine
from covnode.store.upgrades import upgrade
from covnode.wiring import landlock, worker
from covnode.wiring.devices import devices_of
from covnode.wiring.model_store import shipped_models

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

GIB = 1 << 30

CONFINED = """
import json, multiprocessing, sys
from pathlib import Path
from covnode.home import Home
from covnode.settings import Settings
from covnode.wiring.confinement import confine
from covnode.wiring.node import Node


def compute(key):
    import torch

    done = []
    x = torch.ones(64, 64, 64, 64, device="cuda:0")
    done.append(float((x[0, 0] @ x[0, 0]).sum()))
    done.append(list(torch.nn.functional.conv2d(x, torch.ones(8, 64, 3, 3, device="cuda:0")).shape))
    done.append(list(torch.nn.functional.conv3d(x[:1, None], torch.ones(2, 1, 3, 3, 3, device="cuda:0")).shape))
    done.append(round(float(torch.special.bessel_j0(torch.zeros(1, device="cuda:0"))), 3))  # compiled on the spot
    done.append(torch.cuda.mem_get_info()[1] > 0)
    try:
        Path(key).read_bytes()
    except OSError as error:
        done.append(error.strerror)
    return done


if __name__ == "__main__":
    home = Home(Path(sys.argv[1]))
    confine(Node(home, Settings.model_validate({"database": {"url": f"sqlite:///{home.root}/covnode.db"}})), 0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(json.dumps(pool.apply(compute, (str(home.keys),))))
"""


@pytest.mark.skipif(not landlock.version(), reason="the kernel has no Landlock: nothing is confined here")
def test_a_confined_worker_computes_on_cuda_and_still_reads_no_key(tmp_path):
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o700)
    for folder in home.folders:
        folder.mkdir(mode=0o700, exist_ok=True)
    key_file.create(home.keys)
    engine = make_engine(f"sqlite:///{home.root}/covnode.db")
    upgrade(engine)
    engine.dispose()
    script = tmp_path / "confined.py"
    script.write_text(CONFINED)
    # As on a host whose user has computed nothing before: no cache from elsewhere helps.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA_CACHE", "XDG_"))}
    command = [sys.executable, str(script), str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        64.0**3,
        [64, 8, 62, 62],
        [1, 2, 62, 62, 62],
        1.0,
        True,
        "Permission denied",
    ]


def test_each_cuda_device_has_a_worker():
    assert devices_of(WorkerSettings()) == tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


@pytest.mark.parametrize(
    ("gpu_bytes", "device"),
    [
        (40 * GIB, "cuda:0"),
        (1.5 * GIB, "cuda:0; out of memory on cuda:0 (slices at once: 20)"),
        (
            GIB // 16,
            "cpu; out of memory on cuda:0 (slices at once: 20); out of memory on cuda:0 (slices at once: 4)",
        ),
    ],
    ids=["enough", "enough for four slices", "none to speak of"],
)
def test_a_gpu_that_runs_out_of_memory_costs_no_attempt(tmp_path, monkeypatch, gpu_bytes, device):
    monkeypatch.setenv(scarce_memory.GPU_BYTES, str(gpu_bytes))
    monkeypatch.setattr(worker, "_infer_in_child", scarce_memory.infer_on_a_small_gpu)
    row, _told = analyse(node_with_r231(tmp_path), "cuda:0")
    assert (row.state, row.attempts, row.device) == (AnalysisState.ANALYSED, 1, device), row.reason


def test_a_network_answers_on_cuda_as_on_the_cpu():
    network_input = np.random.default_rng(3).random((64, 128, 128), dtype=np.float32)
    bundle = load_bundle(shipped_models() / "covid-classifier-demo")
    answers = [Classifier(bundle, torch.device(name))(network_input) for name in ("cpu", "cuda:0")]
    assert answers[0] == pytest.approx(answers[1], abs=2e-3)
