"""Migrations only add, so that the node may run while they do, and each has a way back. Each rule is shown to fire."""

import ast
from pathlib import Path

import pytest

# Up to here they were written before the node was said to run meanwhile.
BEFORE_THE_RULE = "0005"
FORBIDDEN = {"drop_column", "drop_table", "drop_constraint", "rename_table", "alter_column", "batch_alter_table"}
FORBIDDEN_IN_SQL = ("DROP ", "RENAME ", "ALTER ")


def _calls(function: ast.FunctionDef) -> list[ast.Call]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


def _takes_nothing(column: ast.Call) -> bool:
    """Whether a row may be written without this column."""
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in column.keywords}
    return given.get("nullable") == "True" or "server_default" in given


def faults_of(migration: Path) -> list[str]:
    """What in a migration an older release could not live with, or nobody could go back from."""
    functions = {node.name: node for node in ast.parse(migration.read_text()).body if isinstance(node, ast.FunctionDef)}
    faults = [] if "downgrade" in functions else ["no downgrade"]
    # The first of a thousand may remove: an older release refuses its tables.
    if migration.name[:4] <= BEFORE_THE_RULE or migration.name[1:4] == "000":
        return faults
    calls = _calls(functions["upgrade"])
    new = {ast.unparse(call.args[0]) for call in calls if call.func.attr == "create_table"}
    for call in calls:
        name = call.func.attr
        if name == "create_index" and ast.unparse(call.args[1]) not in new:
            faults.append("create_index, which keeps whoever writes the table waiting: build_index does not")
        if name in FORBIDDEN:
            faults.append(name)
        if name == "add_column" and not _takes_nothing(call.args[1]):
            faults.append("add_column without a value for what an older release writes")
        if name == "execute" and any(word in ast.unparse(call).upper() for word in FORBIDDEN_IN_SQL):
            faults.append("execute")
    return faults


def test_every_migration_only_adds_and_has_a_way_back(root):
    faulty = {path.name: faults_of(path) for path in sorted((root / "migrations" / "versions").glob("*.py"))}
    assert len(faulty) >= 6
    assert {name: faults for name, faults in faulty.items() if faults} == {}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('op.drop_column("a", "b")', "drop_column"),
        ('op.execute("alter table a rename column b to c")', "execute"),
        (
            'op.create_table("a")\n    op.create_index("i", "a", ["b"])\n    op.create_index("j", "b", ["b"])',
            "create_index, which keeps whoever writes the table waiting: build_index does not",
        ),
        (
            'op.add_column("a", sa.Column("b", sa.String(), nullable=False))',
            "add_column without a value for what an older release writes",
        ),
    ],
)
def test_a_migration_that_takes_away_is_found(body, fault, tmp_path):
    path = tmp_path / "0800_planted.py"
    path.write_text(f"def upgrade():\n    {body}\n\ndef downgrade():\n    pass\n")
    assert faults_of(path) == [fault]
    path = path.rename(tmp_path / "1000_planted.py")
    assert faults_of(path) == []


def test_a_migration_without_a_way_back_is_found(tmp_path):
    path = tmp_path / "0800_planted.py"
    path.write_text('def upgrade():\n    op.add_column("a", sa.Column("b", sa.String(), nullable=True))\n')
    assert faults_of(path) == ["no downgrade"]
