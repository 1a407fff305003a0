"""The floors: an unbroken copy of the package passes, and every forbidden import that a contract names is found."""

import configparser
from itertools import combinations
from pathlib import Path

import pytest

Contract = configparser.SectionProxy


def _contracts(root: Path) -> dict[str, Contract]:
    parser = configparser.ConfigParser()
    parser.read(root / ".importlinter")
    return {name.split(":")[2]: parser[name] for name in parser.sections() if name.startswith("importlinter:contract:")}


def _lines(contract: Contract, key: str) -> list[str]:
    return [line.strip() for line in contract[key].splitlines() if line.strip()]


def _plant(project: Path, module: str, imported: list[str]) -> None:
    """Make a module import what it must not: in a file of its own inside a package, else at the module's end."""
    folder = project / module.replace(".", "/")
    target = folder / "planted.py" if folder.is_dir() else folder.with_suffix(".py")
    assert target.name == "planted.py" or target.is_file(), f"{module} of .importlinter does not exist"
    with target.open("a") as file:
        file.write("\n" + "".join(f"import {name}\n" for name in imported))


def _said(output: str) -> str:
    """The output with its line wraps undone."""
    return " ".join(output.split())


def test_an_unbroken_copy_keeps_every_contract(project, root, run_tool):
    done = run_tool(project, "lint-imports", "--no-logo")
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(_contracts(root))} kept, 0 broken." in done.stdout


def test_every_contract_is_known_to_these_proofs(root):
    contracts = _contracts(root)
    assert set(contracts) == {"floors", "no-dicom-in-inference", "torch", "vault", "interlock"}
    assert {contract["type"] for contract in contracts.values()} == {"layers", "forbidden"}


@pytest.mark.parametrize("name", ["no-dicom-in-inference", "torch", "vault", "interlock"])
def test_every_forbidden_import_is_found(name, project, root, run_tool):
    contract = _contracts(root)[name]
    sources, forbidden = _lines(contract, "source_modules"), _lines(contract, "forbidden_modules")
    for source in sources:
        _plant(project, source, forbidden)
    done = run_tool(project, "lint-imports", "--no-logo")
    said = _said(done.stdout)
    assert done.returncode != 0
    assert f"{_said(contract['name'])} BROKEN" in said
    unseen = [
        (source, target)
        for source in sources
        for target in forbidden
        if f"{source} is not allowed to import {target}:" not in said
    ]
    assert not unseen


def test_every_upward_import_and_every_import_between_stages_is_found(project, root, run_tool):
    contract = _contracts(root)["floors"]
    layers = [[module.strip() for module in line.split("|")] for line in _lines(contract, "layers")]
    wrong = {(low, high) for upper, lower in combinations(layers, 2) for low in lower for high in upper}
    wrong |= {(one, other) for layer in layers for one in layer for other in layer if one != other}
    for source in sorted({low for low, _ in wrong}):
        _plant(project, source, sorted(target for low, target in wrong if low == source))
    done = run_tool(project, "lint-imports", "--no-logo")
    said = _said(done.stdout)
    assert done.returncode != 0
    assert f"{_said(contract['name'])} BROKEN" in said
    assert not {pair for pair in wrong if f"{pair[0]} is not allowed to import {pair[1]}:" not in said}


@pytest.mark.parametrize(
    ("contract", "chain"),
    [
        ("torch", ("covnode.wiring.receiver", "covnode.infer", "torch")),
        ("torch", ("covnode.wiring.sender", "covnode.networks", "monai")),
        ("vault", ("covnode.wiring.worker", "covnode.store", "covnode.store.vault")),
    ],
)
def test_a_forbidden_import_through_another_module_is_found(contract, chain, project, run_tool):
    source, through, target = chain
    _plant(project, source, [f"{through}.planted"])
    _plant(project, through, [target])
    done = run_tool(project, "lint-imports", "--no-logo", "--contract", contract)
    assert done.returncode != 0
    assert f"{source} is not allowed to import {target}:" in _said(done.stdout)


def test_a_module_that_no_floor_holds_is_found(project, root):
    """A package beside the floors would be bound by none of them."""
    assert _homeless(root) == set()
    (project / "covnode" / "attic").mkdir()
    (project / "covnode" / "attic" / "__init__.py").touch()
    (project / "covnode" / "loft.py").touch()
    assert _homeless(project) == {"covnode.attic", "covnode.loft"}


def _homeless(project: Path) -> set[str]:
    layers = _lines(_contracts(project)["floors"], "layers")
    floors = {module.strip() for line in layers for module in line.split("|")}
    found = (path for path in (project / "covnode").iterdir() if path.name not in {"__init__.py", "__pycache__"})
    modules = {f"covnode.{path.stem}" for path in found if path.suffix == ".py" or (path / "__init__.py").is_file()}
    return modules - floors
