"""``covnode config``: look at the configuration and change it."""

from typing import Annotated

import typer
from pydantic import BaseModel

from covnode.cli.console import HomeOption, JsonOption, home_of, print_json, stdout
from covnode.cli.settings_file import read_document, set_value, write_document
from covnode.errors import ConfigurationError
from covnode.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Look at the configuration and change it.")
Key = Annotated[str, typer.Argument(help="A key such as receive.port.")]


@app.command()
def show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every key and the value in force.

    Example: `covnode config show --json`
    """
    settings = load_settings(home_of(home)).model_dump()
    if as_json:
        print_json(settings)
        return
    for key, value in _flat(settings):
        stdout.print(f"{key} = {value!r}", highlight=False)


@app.command()
def get(key: Key, home: HomeOption = None) -> None:
    """Print one value.

    Example: `covnode config get receive.port`
    """
    value: object = load_settings(home_of(home))
    for part in key.split("."):
        if isinstance(value, BaseModel) and part in type(value).model_fields:
            value = getattr(value, part)
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise ConfigurationError(f"there is no key {key}: 'covnode config show' lists all.")
    stdout.print(value, highlight=False)


@app.command("set")
def set_(key: Key, value: Annotated[str, typer.Argument(help="The new value.")], home: HomeOption = None) -> None:
    """Change one value in the file; comments stay. A running node takes it up at its next start.

    Example: `covnode config set receive.port 104`
    """
    place = home_of(home)
    document = read_document(place)
    set_value(document, key, value)
    write_document(place, document)
    stdout.print(f"{key} is set; restart the node to use it.", highlight=False)


@app.command()
def check(home: HomeOption = None) -> None:
    """Check the file and the environment.

    Example: `covnode config check`
    """
    settings: Settings = load_settings(home_of(home))
    destinations = [name for name, peer in settings.peers.items() if peer.deliver]
    stdout.print("The configuration is valid.")
    if not destinations:
        stdout.print(
            "No peer has deliver = true: results stay here. Add one: covnode peer add NAME AE@HOST:PORT --deliver"
        )


@app.command()
def path(home: HomeOption = None) -> None:
    """Print where the configuration file is.

    Example: `covnode config path`
    """
    print(home_of(home).config)  # noqa: T201 (rich would wrap a long path)


def _flat(values: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", value))
    return lines
