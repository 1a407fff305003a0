"""What the gates' proofs share: a small copy of the project to break, and the tools of this environment."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the package and of the gates' configuration: break it at will."""
    copy = tmp_path / "project"
    shutil.copytree(ROOT / "covnode", copy / "covnode", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".importlinter", "Makefile", "constraints.txt"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture
def run_tool() -> Run:
    """Start one of the locked tools in a folder and return what it said, stdout and stderr as one."""

    def run(folder: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / tool, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )

    return run
