"""What a process loads at its start, seen in a fresh interpreter: import contracts judge text, this judges a run."""

import json
import os
import pkgutil
import subprocess
import sys

import pytest

import covnode

LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""

EFFECTS = """
import importlib, json, logging, pathlib, sys, threading
for name in sys.argv[1:]:
    importlib.import_module(name)
known = {name: made for name, made in logging.root.manager.loggerDict.items() if name.startswith("covnode")}
print(json.dumps({
    "handlers": [str(handler) for handler in logging.getLogger().handlers],
    "loggers": [name for name, made in known.items() if getattr(made, "handlers", None) or getattr(made, "level", 0)],
    "threads": [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()],
    "files": sorted(str(path) for path in pathlib.Path().rglob("*")),
}))
"""


def _fresh(script: str, folder, *arguments: str):
    """Run a script in a fresh interpreter whose home and working folder are empty; return what it printed."""
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("COVNODE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("process", ["receiver", "sender"])
def test_receiver_and_sender_start_without_torch(process, tmp_path):
    loaded = set(_fresh(LOADED, tmp_path, f"covnode.wiring.{process}"))
    assert f"covnode.wiring.{process}" in loaded
    assert not loaded & {"torch", "monai", "lungmask", "SimpleITK"}


def test_the_worker_starts_without_the_vault_and_the_network(tmp_path):
    loaded = set(_fresh(LOADED, tmp_path, "covnode.wiring.worker"))
    assert "covnode.wiring.worker" in loaded
    secret = {f"covnode.store.{name}" for name in ("vault", "sealing", "patients", "audit")}
    assert not loaded & (secret | {"covnode.records.identity", "covnode.deidentify", "pynetdicom"})


def test_what_a_process_loads_is_seen(tmp_path):
    assert "torch" in _fresh(LOADED, tmp_path, "torch")


def test_importing_every_module_has_no_effect(tmp_path):
    names = [module.name for module in pkgutil.walk_packages(covnode.__path__, "covnode.")]
    assert {"covnode.__main__", "covnode.infer", "covnode.wiring.worker"} <= set(names)
    seen = _fresh(EFFECTS, tmp_path, *names)
    assert seen == {"handlers": [], "loggers": [], "threads": [], "files": []}


def test_an_effect_of_an_import_is_seen(tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text(
        "import logging, pathlib, threading\n"
        "logging.basicConfig()\n"
        "logging.getLogger('covnode.planted').setLevel('INFO')\n"
        "threading.Thread(target=threading.Event().wait, name='planted', daemon=True).start()\n"
        "pathlib.Path('made').touch()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (work := tmp_path / "work").mkdir()
    seen = _fresh(EFFECTS, work, "planted")
    assert seen.pop("handlers")
    assert seen == {"loggers": ["covnode.planted"], "threads": ["planted"], "files": ["made"]}
