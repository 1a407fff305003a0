"""The package's layout: sizes, empty package files, names that say something. Each rule is shown to fail on a plant."""

import ast
from pathlib import Path

import pytest

LINES_PER_FILE = 300
LINES_PER_FUNCTION = 50
EMPTY_NAMES = {"utils", "helpers", "common", "misc", "manager"}

# path -> why it may be longer; empty is how it should stay
LONGER_FILES: dict[str, str] = {}
LONGER_FUNCTIONS: dict[str, str] = {}


def _modules(project: Path) -> list[Path]:
    return sorted((project / "covnode").rglob("*.py"))


def long_files(project: Path) -> list[str]:
    """Files of 300 lines or more, each with its length."""
    lengths = {str(path.relative_to(project)): len(path.read_text().splitlines()) for path in _modules(project)}
    return [f"{name}: {n}" for name, n in lengths.items() if n >= LINES_PER_FILE and name not in LONGER_FILES]


def long_functions(project: Path) -> list[str]:
    """Functions of 50 lines or more without their docstrings, each with its length."""
    found = []
    for path in _modules(project):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.end_lineno is None:
                continue
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            name = f"{path.relative_to(project)}::{node.name}"
            if length >= LINES_PER_FUNCTION and name not in LONGER_FUNCTIONS:
                found.append(f"{name}: {length}")
    return found


def busy_packages(project: Path) -> list[str]:
    """Package files that hold more than a docstring (the root's also holds the version)."""
    found = []
    for path in _modules(project):
        if path.name != "__init__.py":
            continue
        statements = ast.parse(path.read_text()).body
        rest = statements[1:] if statements and ast.get_docstring(ast.parse(path.read_text())) else statements or [None]
        if path.parent == project / "covnode":
            rest = [node for node in rest if not _is_version(node)]
        if rest:
            found.append(str(path.relative_to(project)))
    return found


def _is_version(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__version__"]


def empty_names(project: Path) -> list[str]:
    """Modules and packages whose name says nothing of what they hold."""
    paths = [*_modules(project), *(path.parent for path in _modules(project))]
    return sorted({str(path.relative_to(project)) for path in paths if path.stem in EMPTY_NAMES})


RULES = {rule.__name__: rule for rule in (long_files, long_functions, busy_packages, empty_names)}


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule, root):
    assert RULES[rule](root) == []


@pytest.mark.parametrize(
    ("rule", "path", "text", "said"),
    [
        ("long_files", "volume/planted.py", "figure = 1\n" * 300, "covnode/volume/planted.py: 300"),
        (
            "long_functions",
            "volume/planted.py",
            'def planted():\n    """Doc."""\n' + "    print()\n" * 50,
            "covnode/volume/planted.py::planted: 50",
        ),
        ("busy_packages", "planted/__init__.py", '"""Doc."""\n\nimport os\n', "covnode/planted/__init__.py"),
        ("busy_packages", "planted/__init__.py", "", "covnode/planted/__init__.py"),
        ("empty_names", "volume/utils.py", '"""Doc."""\n', "covnode/volume/utils.py"),
        ("empty_names", "helpers/planted.py", '"""Doc."""\n', "covnode/helpers"),
    ],
)
def test_a_plant_breaks_the_rule(rule, path, text, said, project):
    before = RULES[rule](project)
    planted = project / "covnode" / path
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(text)
    assert set(RULES[rule](project)) - set(before) == {said}


def test_every_exception_is_still_needed(root):
    names = {name.split("::")[0] for name in (*LONGER_FILES, *LONGER_FUNCTIONS)}
    assert all((root / name).is_file() for name in names)
