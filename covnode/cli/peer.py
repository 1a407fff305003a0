"""``covnode peer``: the AEs that the node talks to."""

import re
import time
from typing import Annotated

import tomlkit
import typer
from tomlkit.items import Table

from covnode.cli.console import HomeOption, JsonOption, home_of, node_of, parse_address, show_rows, stdout
from covnode.cli.settings_file import read_document, write_document
from covnode.deliver.scu import echo as c_echo
from covnode.errors import ConfigurationError
from covnode.settings import PeerSettings, load_settings
from covnode.store import deliveries, destinations, waiting
from covnode.wiring.destinations import destination_of

app = typer.Typer(no_args_is_help=True, help="The AEs that the node talks to.")
Name = Annotated[str, typer.Argument(help="Your name for the peer.")]


def peer_table(address: tuple[str, str, int], **chosen: bool) -> Table:
    """Return the section of one peer; ``chosen`` are keys of it that are not as by default."""
    ae_title, host, port = address
    table = tomlkit.table()
    given = {"ae_title": ae_title, "host": host, "port": port, **chosen}
    for key, field in PeerSettings.model_fields.items():
        if field.description:
            table.add(tomlkit.comment(field.description))
        table.add(key, given.get(key, field.default))
    return table


@app.command()
def add(
    name: Name,
    address: Annotated[str, typer.Argument(help="AE@HOST:PORT")],
    home: HomeOption = None,
    deliver: Annotated[bool, typer.Option("--deliver", help="Send results to this peer.")] = False,
    count_by_find: Annotated[
        bool, typer.Option("--count-by-find", help="Ask it how many instances a series has that it sends.")
    ] = False,
    accept_demonstration: Annotated[
        bool, typer.Option("--accept-demonstration", help="Also send figures of models for demonstration only.")
    ] = False,
) -> None:
    """Add a peer.

    Example: `covnode peer add pacs PACS@192.0.2.10:104 --deliver`
    """
    place = home_of(home)
    document = read_document(place)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ConfigurationError(f"{name} cannot name a peer: use letters, digits, - and _.")
    if "peers" not in document:
        document.add("peers", tomlkit.table(is_super_table=True))
    peers = document["peers"]
    if not isinstance(peers, Table) or name in peers:
        raise ConfigurationError(f"there is a peer {name} already: remove it first by 'covnode peer remove {name}'.")
    chosen = {"deliver": deliver, "count_by_find": count_by_find, "accept_demonstration": accept_demonstration}
    peers.add(name, peer_table(parse_address(address), **chosen))
    write_document(place, document)
    stdout.print(f"Added {name}; restart the node to use it.", highlight=False)


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the peers, and how it stands with those that results go to: away since when, what waits, what is parked.

    Example: `covnode peer list --json`
    """
    node = node_of(home)
    with node.transaction() as session:
        rows = [
            {"name": name, **peer.model_dump(), **destinations.standing(session, name)}
            for name, peer in node.settings.peers.items()
        ]
    show_rows(["name", *PeerSettings.model_fields, *destinations.STANDING], rows, as_json=as_json)


@app.command()
def retry(name: Name, home: HomeOption = None) -> None:
    """Have all that waits for a peer, or is to be tried later, sent now: it no longer counts as away.

    Example: `covnode peer retry pacs`
    """
    node = node_of(home)
    with node.transaction() as session:
        known = name in node.settings.peers or name in deliveries.destinations_waited_for(session)
        destinations.note_reached(session, name)
        waiting.hurry(session, name)
        open_now = destinations.standing(session, name)["waiting"]
    if not known:
        raise ConfigurationError(f"there is no peer {name}: 'covnode peer list' lists all.")
    stdout.print(f"{name} is tried again at once: {open_now} deliveries are open.", highlight=False)


@app.command()
def remove(name: Name, home: HomeOption = None) -> None:
    """Remove a peer; deliveries to it that wait are parked with that reason.

    Example: `covnode peer remove old-pacs`
    """
    place = home_of(home)
    document = read_document(place)
    peers = document.get("peers")
    if not isinstance(peers, Table) or name not in peers:
        raise ConfigurationError(f"there is no peer {name}: 'covnode peer list' lists all.")
    peers.remove(name)
    write_document(place, document)
    stdout.print(f"Removed {name}; restart the node to use it.", highlight=False)


@app.command()
def echo(name: Name, home: HomeOption = None) -> None:
    """Ask a peer by C-ECHO whether it answers.

    Example: `covnode peer echo pacs`
    """
    settings = load_settings(home_of(home))
    if name not in settings.peers:
        raise ConfigurationError(f"there is no peer {name}: 'covnode peer list' lists all.")
    started = time.monotonic()
    c_echo(settings.node.ae_title, destination_of(name, settings.peers[name], settings.deliver.timeout_s))
    stdout.print(f"{name} answers ({(time.monotonic() - started) * 1000:.0f} ms).", highlight=False)
