"""Writing the configuration file: comments stay, and nothing invalid is ever written."""

from typing import Any

import tomlkit
from pydantic import BaseModel
from tomlkit import TOMLDocument
from tomlkit.items import Table

from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.settings import Settings, parse_settings


def default_document(settings: Settings) -> TOMLDocument:
    """Return a commented document with every key and its value."""
    document = tomlkit.document()
    document.add(tomlkit.comment("covnode: every key, its value and what it means. Check with 'covnode config check'."))
    for name, field in Settings.model_fields.items():
        section = getattr(settings, name)
        if isinstance(section, BaseModel):
            table = tomlkit.table()
            for key, described in type(section).model_fields.items():
                table.add(tomlkit.comment(described.description or key))
                table.add(key, getattr(section, key))
            document.add(tomlkit.nl())
            document.add(name, table)
        elif name == "peers":
            document.add(tomlkit.nl())
            document.add(tomlkit.comment("other AEs, one section each: 'covnode peer add NAME AE@HOST:PORT --deliver'"))
        else:
            raise ConfigurationError(f"the setting {name} ({field.annotation}) has no place in the file")
    return document


def read_document(home: Home) -> TOMLDocument:
    """Read the file with its comments."""
    try:
        return tomlkit.parse(home.config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{home.config} does not exist. Run 'covnode init'.") from None
    except (tomlkit.exceptions.ParseError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{home.config} is not valid TOML: {error}. Mend it in an editor.") from None


def write_document(home: Home, document: TOMLDocument) -> None:
    """Validate, then replace the file at once."""
    text = tomlkit.dumps(document)
    parse_settings(text, "the new configuration")
    temporary = home.config.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o600)
    temporary.replace(home.config)


def set_value(document: TOMLDocument, key: str, text: str) -> None:
    """Set ``section.key`` (or ``peers.name.key``) to the TOML value ``text``, or to it as a string."""
    *path, last = key.split(".")
    table: Any = document
    for part in path:
        if part not in table:
            table.add(part, tomlkit.table())
        table = table[part]
        if not isinstance(table, Table):
            raise ConfigurationError(f"{key}: {part} is not a section.")
    if not path:
        raise ConfigurationError(f"{key} is not of the form section.key, such as receive.port.")
    try:
        value = tomlkit.value(text)
    except tomlkit.exceptions.ParseError:
        value = tomlkit.string(text)
    table[last] = value
