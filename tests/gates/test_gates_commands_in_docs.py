"""Every command and option that a document names exists: the README is held to the command line itself."""

import re
from pathlib import Path

import pytest
import typer

from covnode.cli.app import app

# In code alone: `covnode init` in a sentence, a line of a block that starts with it, or the program by its path.
_QUOTED = re.compile(r"`covnode ([^`]+)`")
_LINE = re.compile(r"^ {4,}(?:\$ )?covnode ([^#\n]+)", re.MULTILINE)
_PATH = re.compile(r"bin/covnode ([^#\n]+)")
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = ("*.md", "docs/**/*.md", "models/**/*.md", "deploy/**/*.yaml", "deploy/**/*.service")


def commands_of(text: str) -> list[str]:
    """What follows ``covnode`` wherever a text shows it as a command."""
    fenced = "\n".join(f"    {line}" for block in _FENCE.findall(text) for line in block.splitlines())
    return [*_QUOTED.findall(text), *_PATH.findall(text), *_LINE.findall(text), *_LINE.findall(fenced)]


def unknown(line: str) -> str | None:
    """The first word or option of a command line that the command line does not know."""
    command = typer.main.get_command(app)
    for word in line.split():
        if word.startswith("--"):
            name = word.partition("=")[0]
            if name not in {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}:
                return name
        elif hasattr(command, "commands"):
            for choice in word.split("|"):
                if choice not in command.commands:
                    return choice
            command = command.commands[word.split("|")[0]]
    return None


def _pages(root: Path) -> list[Path]:
    return sorted({page for pattern in PAGES for page in root.glob(pattern)})


def test_every_command_in_the_documents_exists(root):
    wrong = {
        f"{page.relative_to(root)}: covnode {line}": unknown(line)
        for page in _pages(root)
        for line in commands_of(page.read_text())
        if unknown(line)
    }
    assert wrong == {}


def test_the_documents_name_commands_at_all(root):
    named = {line.split()[0] for page in _pages(root) for line in commands_of(page.read_text())}
    assert {"serve", "receive", "work", "send", "init", "phantom"} <= named


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Run `covnode fly` now.", "fly"),
        ("Run `covnode config fly` now.", "fly"),
        ("Run `covnode serve --fly` now.", "--fly"),
        ("So:\n\n    covnode jobs fly ID\n", "fly"),
        ("```sh\n$ covnode push DIR --fly=1\n```\n", "--fly"),
        ("#   runuser -u covnode -- /opt/covnode/bin/covnode init --fly\n", "--fly"),
        ("ExecStart=/opt/covnode/bin/covnode fly\n", "fly"),
        ("Run `covnode config show|get|set`.", None),
        ("Run `covnode jobs retry del-1` or `covnode push DIR --to AE@HOST:PORT`.", None),
        ("# covnode\n\ncovnode is a node.\n", None),
    ],
)
def test_a_command_that_does_not_exist_is_found(text, wrong):
    found = [unknown(line) for line in commands_of(text)]
    assert [name for name in found if name] == ([wrong] if wrong else [])
