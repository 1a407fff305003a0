"""``covnode init``: a home folder that works."""

import os
from typing import Annotated

import tomlkit
import typer

from covnode.cli.console import HomeOption, home_of, parse_address, stdout
from covnode.cli.peer import peer_table
from covnode.cli.settings_file import default_document, write_document
from covnode.deidentify import key_file
from covnode.errors import ConfigurationError
from covnode.settings import NodeSettings, ReceiveSettings, parse_settings, validated
from covnode.wiring.identities import refuse_new_keys
from covnode.wiring.node import Node


def init(
    home: HomeOption = None,
    ae_title: Annotated[str, typer.Option(help="AE title of this node.")] = NodeSettings().ae_title,
    bind: Annotated[str, typer.Option(help="Address that the node listens on.")] = ReceiveSettings().bind,
    port: Annotated[int, typer.Option(help="Port that the node listens on.")] = ReceiveSettings().port,
    pacs: Annotated[str | None, typer.Option(help="Where results go: AE@HOST:PORT.", show_default=False)] = None,
    *,
    files: Annotated[
        str,
        typer.Option(
            help="Folder of images and results, which all hosts of one database share.", show_default="the home"
        ),
    ] = "",
    database: Annotated[
        str, typer.Option(help="SQLAlchemy URL of a PostgreSQL database.", show_default="SQLite in the home")
    ] = "",
    accept_demonstration: Annotated[
        bool, typer.Option(help="The PACS also gets figures of models that are for demonstration only.")
    ] = False,
) -> None:
    """Make the node's folder: configuration, keys and database.

    A further host of a node gets the same --files and --database, and keys/ of the first one in its home before that.

    Example: `covnode init --ae-title COVNODE --port 11112 --pacs PACS@192.0.2.10:104`
    """
    os.umask(0o077)
    place = home_of(home)
    if place.config.exists():
        raise ConfigurationError(f"{place.config} exists already: change it by 'covnode config set' or 'covnode peer'.")
    given = {"receive": {"bind": bind, "port": port}, "files": {"folder": files}, "database": {"url": database}}
    document = default_document(validated({"node": {"ae_title": ae_title}, **given}, "what was given"))
    if pacs is not None:
        peers = tomlkit.table(is_super_table=True)
        peers.add("pacs", peer_table(parse_address(pacs), deliver=True, accept_demonstration=accept_demonstration))
        document.add("peers", peers)
    settings = parse_settings(tomlkit.dumps(document), "what was given", dict(os.environ))
    node = Node(place.with_files(settings.files.folder), settings)
    place.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in node.home.folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    node.upgrade_database()
    if not place.keys.exists():
        refuse_new_keys(node)
        key_file.create(place.keys)
    write_document(place, document)
    stdout.print(f"The node's folder is {place.root}")
    stdout.print(f"Keep a copy of {place.keys}: without it no result finds its patient again.")
    stdout.print("Start it: covnode serve. Check it: covnode doctor.")
