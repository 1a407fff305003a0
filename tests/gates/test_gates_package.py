"""The wheel: whoever installs covnode without a checkout gets every file that the code opens, and no test."""

import subprocess
import sys
import zipfile

import pytest


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> set[str]:
    """Names of the files in a wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = folder.glob("covnode-*.whl")
    return set(zipfile.ZipFile(built).namelist())


@pytest.mark.parametrize(("folder", "place"), [("covnode", "covnode"), ("migrations", "covnode/_data/migrations")])
def test_the_wheel_holds_every_file_of(folder, place, root, wheel):
    tracked = subprocess.run(["git", "ls-files", folder], cwd=root, check=False, capture_output=True, text=True)
    files = tracked.stdout.split() or [str(p.relative_to(root)) for p in (root / folder).rglob("*.py")]
    assert files
    assert {name.replace(folder, place, 1) for name in files} <= wheel


def test_the_wheel_holds_the_models(root, wheel):
    files = [path.relative_to(root) for path in (root / "models").rglob("*") if path.is_file()]
    assert {f"covnode/_data/{path}" for path in files} <= wheel


def test_the_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"covnode"}
    assert not {name for name in wheel if "__pycache__" in name}
