"""The commands that people and CI run: a failure inside any of them must come out as a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

STEPS = ("check", "demo", "chaos", "nodes", "test")


def _program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _run(command: list[str | Path], cwd: Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "HOME": str(cwd)}
    quiet = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, cwd=cwd, env=environment, check=False, timeout=60, **quiet)


@pytest.mark.parametrize("failing", [*STEPS, None])
def test_ci_stops_at_the_first_failing_step(failing, root, tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(root / ".ci" / "run", tmp_path / ".ci" / "run")
    _program(tmp_path / "bin" / "make", f'echo "$@" >>log; case "$*" in *"{failing}"*) exit 2 ;; esac')
    done = _run([tmp_path / ".ci" / "run"], tmp_path, f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    ran = [line.split()[-1] for line in (tmp_path / "log").read_text().splitlines()]
    expected = STEPS if failing is None else STEPS[: STEPS.index(failing) + 1]
    assert ran == list(expected)
    assert (done.returncode == 0) is (failing is None)


@pytest.fixture
def prepared(project) -> Path:
    """The project with an environment that make believes to be complete, and peers that are there."""
    for stamp in (".made", ".runtime", ".dev"):
        (project / ".venv").mkdir(exist_ok=True)
        (project / ".venv" / stamp).touch()
    _program(project / "tests" / "install_peers.sh", "exit 0")
    for tool in ("ruff", "mypy", "lint-imports", "python"):
        _program(project / ".venv" / "bin" / tool, "exit 0")
    return project


@pytest.mark.parametrize("target", [*STEPS, "train-demo", "evaluate-phantoms", "bench-study"])
def test_make_passes_when_the_tools_pass(target, prepared):
    assert _run(["make", target], prepared, os.environ["PATH"]).returncode == 0


@pytest.mark.parametrize("tool", ["ruff", "mypy", "lint-imports"])
def test_make_check_fails_with_any_of_its_tools(tool, prepared):
    _program(prepared / ".venv" / "bin" / tool, "exit 1")
    assert _run(["make", "check"], prepared, os.environ["PATH"]).returncode != 0


@pytest.mark.parametrize("code", [1, 5])
@pytest.mark.parametrize("target", ["test", "demo", "train-demo", "evaluate-phantoms", "bench-study"])
def test_make_fails_when_python_fails(target, code, prepared):
    """Pytest ends with 5 when it finds no test: no reason to be content."""
    _program(prepared / ".venv" / "bin" / "python", f"exit {code}")
    assert _run(["make", target], prepared, os.environ["PATH"]).returncode != 0


@pytest.mark.parametrize("part", ["-m pytest", "-m covnode chaos"])
def test_make_chaos_fails_with_its_tests_and_with_its_certificate(part, prepared):
    _program(prepared / ".venv" / "bin" / "python", f'case "$*" in *"{part}"*) exit 1 ;; esac')
    assert _run(["make", "chaos"], prepared, os.environ["PATH"]).returncode != 0


def test_make_test_fails_without_the_peers(prepared):
    _program(prepared / "tests" / "install_peers.sh", "exit 1")
    assert _run(["make", "test"], prepared, os.environ["PATH"]).returncode != 0


def test_an_old_python_is_refused_with_the_way_out(project):
    _program(project / "bin" / "python3", "exit 1")
    done = _run(["make", "demo"], project, f"{project / 'bin'}:{os.environ['PATH']}")
    assert done.returncode != 0
    assert "needs Python 3.11" in done.stderr
    assert not (project / ".venv" / ".made").exists()


def test_help_names_every_target_that_is_meant_for_people(root, project):
    said = _run(["make"], project, os.environ["PATH"]).stdout
    phony = next(line for line in (root / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    targets = set(phony.split()[1:]) - {"help"}
    assert {line.split()[0] for line in said.splitlines()} - {"help"} == targets


@pytest.fixture
def peers(root, tmp_path) -> Path:
    """A machine of its own in a folder: the script that installs the peers, and every one of them but two."""
    script = (root / "tests" / "install_peers.sh").read_text()
    for real, place in {
        "/usr/sbin:/sbin": "sbin",
        "/usr/lib/postgresql": "postgresql",
        "/usr/sbin/policy": "policy",
    }.items():
        assert real in script
        script = script.replace(real, str(tmp_path / place))
    (tmp_path / "script").write_text(script)
    for program in ("storescu", "dcmcjpeg", "dcmcjpls", "Orthanc"):
        _program(tmp_path / "sbin" / program, "exit 0")
    for program in ("chmod", "rm", "mkdir"):
        (tmp_path / "sbin" / program).symlink_to(shutil.which(program))
    return tmp_path


def test_missing_peers_are_named_with_the_command_that_installs_them(peers):
    _program(peers / "sbin" / "id", "echo 1000")
    done = _run(["/bin/sh", "script"], peers, str(peers / "sbin"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].split("&& ")[1] == (
        "sudo apt-get install -y --no-install-recommends dicom3tools postgresql"
    )
    _program(peers / "sbin" / "dciodvfy", "exit 0")
    _program(peers / "postgresql" / "15" / "bin" / "initdb", "exit 0")
    assert _run(["/bin/sh", "script"], peers, str(peers / "sbin")).returncode == 0


@pytest.mark.parametrize("delivers", [True, False])
def test_root_installs_the_missing_peers_and_no_service_starts(delivers, peers):
    _program(peers / "sbin" / "id", "echo 0")
    made = "mkdir -p postgresql/15/bin; for p in sbin/dciodvfy postgresql/15/bin/initdb; do : >$p; chmod 755 $p; done"
    _program(peers / "sbin" / "apt-get", f'echo "$@" >>log; [ -x policy-rc.d ] && {made if delivers else ":"}')
    done = _run(["/bin/sh", "script"], peers, str(peers / "sbin"))
    assert (peers / "log").read_text().splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends dicom3tools postgresql",
    ]
    assert not (peers / "policy-rc.d").exists()
    assert (done.returncode == 0) is delivers
