"""Lint, format and types: each finds what is planted, and passes on a copy without the plant."""

import shutil

import pytest

CLEAN = '''"""A module without a fault."""


def doubled(figure: int) -> int:
    """Return twice the figure."""
    return 2 * figure
'''

FAULTS = {
    "T201": '"""Doc."""\n\nprint("on stdout")\n',
    "BLE001": '"""Doc."""\n\ntry:\n    figure = int("1")\nexcept Exception:\n    figure = 0\n',
    "D103": '"""Doc."""\n\n\ndef planted() -> None:\n    return\n',
    "ANN001": '"""Doc."""\n\n\ndef planted(figure) -> None:\n    """Doc."""\n',
    "FBT001": '"""Doc."""\n\n\ndef planted(switch: bool) -> None:\n    """Doc."""\n    del switch\n',
    "PLR0913": '"""Doc."""\n\n\ndef planted(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> int:\n    ...\n',
    "S101": '"""Doc."""\n\nassert __name__\n',
    "PGH003": '"""Doc."""\n\nfigure: int = "text"  # type: ignore\n',
    "PGH004": '"""Doc."""\n\nimport os  # noqa\n',
    "E501": '"""Doc."""\n\n# ' + "long " * 30 + "\n",
}


@pytest.fixture
def small(tmp_path, root):
    """A package of one sound module under the project's configuration: the tools answer in a second."""
    shutil.copy(root / "pyproject.toml", tmp_path)
    (tmp_path / "README.md").touch()
    package = tmp_path / "covnode" / "volume"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text('"""Doc."""\n')
    (package / "__init__.py").write_text('"""Doc."""\n')
    (package / "sound.py").write_text(CLEAN)
    return tmp_path


def _commands(root) -> list[list[str]]:
    """The commands of `make check`, as the Makefile has them."""
    recipe = (root / "Makefile").read_text().split("\ncheck:")[1].split("\n\n")[0]
    return [line.strip().removeprefix("$(BIN)/").split() for line in recipe.splitlines()[1:]]


def test_make_check_runs_the_four_tools(root):
    assert [command[0] for command in _commands(root)] == ["ruff", "ruff", "mypy", "lint-imports"]


def test_a_sound_package_passes(small, root, run_tool):
    lint, layout, types, _ = _commands(root)
    for command in (lint, layout, types):
        done = run_tool(small, *command)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("rule", FAULTS)
def test_a_fault_fails_the_lint(rule, small, root, run_tool):
    (small / "covnode" / "volume" / "planted.py").write_text(FAULTS[rule])
    done = run_tool(small, *_commands(root)[0])
    assert done.returncode != 0
    assert rule in done.stdout


def test_loose_format_fails(small, root, run_tool):
    (small / "covnode" / "volume" / "planted.py").write_text('"""Doc."""\nfigures = { \'a\':1 }\n')
    done = run_tool(small, *_commands(root)[1])
    assert done.returncode != 0
    assert "planted.py" in done.stdout


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("return-value", 'def planted() -> int:\n    return "text"\n'),
        ("no-untyped-def", "def planted(figure):\n    return figure\n"),
        ("type-arg", "def planted(figures: list) -> None:\n    figures.clear()\n"),
        ("unused-ignore", "figure: int = 1  # type: ignore[assignment]\n"),
    ],
)
def test_a_wrong_type_fails(code, fault, small, root, run_tool):
    (small / "covnode" / "volume" / "planted.py").write_text(fault)
    done = run_tool(small, *_commands(root)[2])
    assert done.returncode != 0
    assert f"[{code}]" in done.stdout
