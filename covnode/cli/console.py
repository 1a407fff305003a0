"""What every command shares: its options, its tables and its errors."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from covnode.errors import ConfigurationError, CovnodeError
from covnode.home import Home, default_home
from covnode.settings import AETitle
from covnode.wiring.node import Node, open_node

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The node's folder; else COVNODE_HOME, else this user's data folder.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Show the newest so many.")]

stdout = Console(soft_wrap=True)
stderr = Console(stderr=True, soft_wrap=True)


def run(app: typer.Typer) -> None:
    """Run commands; an error is its message, without a traceback."""
    try:
        app()
    except CovnodeError as error:
        stderr.print("error: ", style="bold red", end="")
        stderr.print(str(error), markup=False, highlight=False)
        sys.exit(1)
    except OSError as error:
        stderr.print(f"error: {error.filename or 'the system'}: {error.strerror}", markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def home_of(folder: Path | None) -> Home:
    """Return the home that the option or the environment names."""
    return Home(folder or default_home())


def node_of(folder: Path | None) -> Node:
    """Open the node of that home, on tables that fit this release."""
    node = open_node(home_of(folder))
    node.require_current_database()
    return node


def show_rows(columns: Sequence[str], rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows as a table, or as one JSON array with the same keys."""
    if as_json:
        print_json(list(rows))
        return
    table = Table(*[column.replace("_", " ") for column in columns], box=None, header_style="bold", pad_edge=False)
    for row in rows:
        # Text, not markup: an AE title may hold brackets.
        table.add_row(*[Text("" if row[column] is None else str(row[column])) for column in columns])
    stdout.print(table)


def print_json(value: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def parse_address(text: str) -> tuple[str, str, int]:
    """Split ``AE@HOST:PORT``.

    Raises
    ------
    ConfigurationError
        It is not of that form.
    """
    ae_title, at, address = text.rpartition("@")
    host, colon, port = address.rpartition(":")
    if not (at and colon and ae_title and host and port.isdecimal()):
        raise ConfigurationError(f"{text} is not of the form AE@HOST:PORT, such as PACS@192.0.2.10:104.")
    try:
        TypeAdapter(AETitle).validate_python(ae_title)
    except ValidationError:
        raise ConfigurationError(f"{ae_title} is no AE title: 1 to 16 characters of ASCII, no backslash.") from None
    return ae_title, host, int(port)


def show_found(found: Mapping[str, object] | None, missing: str, *, as_json: bool) -> None:
    """Print one record.

    Raises
    ------
    ConfigurationError
        There is none; ``missing`` says so and where to look.
    """
    if found is None:
        raise ConfigurationError(missing)
    if as_json:
        print_json(found)
    else:
        _show_tree(found)


def _show_tree(value: Mapping[str, object], indent: str = "") -> None:
    """Print a record as indented lines; what is empty is left out."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            stdout.print(f"{indent}{key}:", highlight=False)
            _show_tree(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], Mapping):
            for number, part in enumerate(item, start=1):
                stdout.print(f"{indent}{key} {number}:", highlight=False)
                _show_tree(part, indent + "  ")
        elif item not in (None, [], ""):
            stdout.print(f"{indent}{key}: {item}", highlight=False, markup=False)


@contextmanager
def counting_progress() -> Iterator[Progress]:
    """Show how many of how many are done, on a terminal alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        yield progress
