"""The dependencies: no GPL at run time, every one of them recorded with its licence, every version locked."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Distributions whose metadata names no licence: read in their LICENSE file by a person.
READ_BY_HAND = {"lungmask": "Apache-2.0"}


def licence_of(distribution: Distribution) -> str:
    """The licence that a distribution declares: its SPDX expression, else its classifiers, else its License field."""
    metadata = distribution.metadata
    expression = metadata.get("License-Expression")
    if expression:
        return expression
    classifiers = [
        line for line in metadata.get_all("Classifier", []) if line.startswith("License :: OSI Approved :: ")
    ]
    if classifiers:
        return " AND ".join(line.rpartition(" :: ")[2] for line in classifiers)
    return (metadata.get("License") or "").partition("\n")[0]


def is_gpl(licence: str) -> bool:
    """Whether a licence leaves no way around the GPL or AGPL; the Lesser GPL is none of the two."""
    return all(
        re.search(r"GPL|General Public License", re.sub(r"LGPL|(Library|Lesser)[\w ]* General Public License", "", way))
        for way in licence.replace("(LGPL", "LGPL").split(" OR ")
    )


def refused(project: str, path: list[str] | None = None) -> dict[str, str]:
    """Distributions that a project needs at run time and that are GPL, or whose licence nobody knows."""
    found = {}
    for name, distribution in sorted(_closure(project, path).items()):
        licence = licence_of(distribution) or READ_BY_HAND.get(name, "")
        if not licence or is_gpl(licence):
            found[name] = licence or "unknown"
    return found


def _closure(project: str, path: list[str] | None) -> dict[str, Distribution]:
    """All distributions that a project needs at run time, itself left out, however deep."""
    found: dict[str, Distribution] = {}
    waiting = list(_requirements(_find(project, path), frozenset()))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras:
            continue
        found[name] = _find(name, path)
        waiting += [r for r in _requirements(found[name], frozenset(requirement.extras)) if r.name not in found]
    return found


def _find(name: str, path: list[str] | None) -> Distribution:
    context = {"name": name} if path is None else {"name": name, "path": path}
    return next(iter(Distribution.discover(**context)))


def _requirements(distribution: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras | {""}):
            yield requirement


def _declared(root: Path) -> dict[str, set[str]]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lists = {"runtime": project["dependencies"], **project["optional-dependencies"]}
    return {kind: {canonicalize_name(Requirement(line).name) for line in lines} for kind, lines in lists.items()}


def _recorded(root: Path) -> set[str]:
    """Names in the first column of the table of the decision record on dependencies."""
    (record,) = (root / "docs" / "adr").glob("*-dependencies.md")
    return set(re.findall(r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \|$", record.read_text(), re.MULTILINE))


def test_no_runtime_dependency_is_gpl():
    assert refused("covnode") == {}


def test_the_closure_reaches_below_the_direct_dependencies():
    names = set(_closure("covnode", None))
    assert {"pydicom", "torch", "fill-voids", "simpleitk", "markupsafe"} <= names
    assert "pytest" not in names


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("License-Expression: GPL-3.0-or-later", True),
        ("License-Expression: MIT AND GPL-2.0-only", True),
        ("License-Expression: AGPL-3.0-only", True),
        ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True),
        ("License: GPL", True),
        ("Name: planted", True),
        ("License-Expression: LGPL-3.0-or-later", False),
        ("License-Expression: MIT OR GPL-3.0-or-later", False),
        ("Classifier: License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)", False),
        ("Classifier: License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", False),
        ("License: BSD-3-Clause", False),
    ],
)
def test_a_gpl_distribution_two_steps_down_is_found(field, bad, tmp_path):
    _distribution(tmp_path, "root", "License: MIT", requires="middle")
    _distribution(tmp_path, "middle", "License: MIT", requires="planted")
    _distribution(tmp_path, "planted", field)
    assert set(refused("root", [str(tmp_path)])) == ({"planted"} if bad else set())


def _distribution(folder: Path, name: str, field: str, requires: str | None = None) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{field}\n{needs}")


def test_every_dependency_is_recorded_with_its_licence_and_reason(root):
    declared = _declared(root)
    assert _recorded(root) == set().union(*declared.values())


def unused(project: Path) -> set[str]:
    """Runtime dependencies that no module of the package imports, drivers that a database URL names left out."""
    sources = "\n".join(path.read_text() for path in (project / "covnode").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", sources, re.MULTILINE))
    used = {
        canonicalize_name(d) for module, names in packages_distributions().items() if module in imported for d in names
    }
    return _declared(project)["runtime"] - used - {"psycopg2-binary"}


def test_every_runtime_dependency_is_imported(root):
    assert unused(root) == set()


def test_an_unused_dependency_is_found(project):
    for path in (project / "covnode").rglob("*.py"):
        path.write_text(re.sub(r"^(\s*)from pebble import.*$", r"\1pass", path.read_text(), flags=re.MULTILINE))
    assert unused(project) == {"pebble"}


def test_every_installed_distribution_that_covnode_needs_is_locked(root):
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    locked = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    assert not {line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)}
    closure = _closure("covnode", None)
    # A CUDA build of torch brings NVIDIA's own packages, which a lock made for the CPU does not name.
    unlocked = {name for name in set(closure) - set(locked) if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert unlocked == set()
    differing = {name for name, d in closure.items() if name in locked and d.version.partition("+")[0] != locked[name]}
    assert differing == set()
