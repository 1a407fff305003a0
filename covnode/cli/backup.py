"""``covnode backup`` and ``covnode restore``: all that a node is, into a folder and back."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tomlkit
import typer

from covnode.cli.console import HomeOption, JsonOption, counting_progress, home_of, node_of, print_json, stdout
from covnode.cli.settings_file import read_document, set_value, write_document
from covnode.errors import ConfigurationError
from covnode.settings import parse_settings
from covnode.store.engine import revisions
from covnode.wiring.backup import Backup, check_empty, make_backup
from covnode.wiring.node import open_node


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    with counting_progress() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def backup(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to make, outside of the node's.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy everything that the node is into a new folder, while it runs: database, keys, images, results, settings.

    The folder holds the keys beside what they open: its owner alone may read it, and it is to be kept as the node's own
    folder is. Files that the configuration names outside of the node's folder are not in it, nor is what lies in an
    object store or on other hosts that share no files with this one. A patient whose identities are erased later is
    still in it.

    Example: `covnode backup /mnt/backup/covnode-2026-11-27`
    """
    os.umask(0o077)
    started_s = time.monotonic()
    out = out.expanduser().absolute()
    node = node_of(home)
    with _progress("copying files") as progress:
        made = make_backup(node, out, progress)
    about = {
        "backup": str(out),
        "files": len(made.files),
        "size_bytes": made.size_bytes,
        "without_object_store": node.settings.objects.url or None,
        "database_revision": made.revision,
        "seconds": round(time.monotonic() - started_s, 1),
    }
    if as_json:
        print_json(about)
        return
    stdout.print(f"{out} holds {len(made.files)} files, {made.size_bytes / 1e6:.0f} MB.", highlight=False, markup=False)
    stdout.print("It holds the keys: whoever reads it can tell who the patients are.")
    if node.settings.objects.url:
        stdout.print(
            f"Copies and results in {node.settings.objects.url} are not in it, nor what other hosts received: "
            "see to the store by its own means, and take a backup on each host.",
            highlight=False,
            markup=False,
        )


def restore(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup.")],
    home: HomeOption = None,
    database_url: Annotated[
        str,
        typer.Option(
            help="PostgreSQL: the empty database to restore into, kept in the restored configuration; "
            "else the one that this names.",
            show_default=False,
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a node of a backup, in an empty folder; every digest is verified first.

    What was in flight goes on when it starts. What the node that the backup was made of has delivered since then is
    sent again, with the same UIDs and the same bytes; so never let both run. Identities that were erased since are
    back: erase them again.

    Example: `covnode restore /mnt/backup/covnode-2026-11-27 --home /srv/covnode`
    """
    os.umask(0o077)
    place = home_of(home)
    check_empty(place)
    found = Backup.at(source.expanduser().absolute())
    with _progress("verifying files") as progress:
        found.verify(progress)
    document = read_document(found.home)
    is_postgresql = found.manifest.database == "postgresql"
    if database_url and not is_postgresql:
        raise ConfigurationError("--database-url: this is a backup of SQLite, which lies in the node's folder.")
    if database_url or not is_postgresql:
        # Never the database of the node that the backup was made of.
        set_value(document, "database.url", f'"{database_url}"')
        set_value(document, "database.worker_url", '""')
    # Nor its folder of files: the copies lie in the new home.
    set_value(document, "files.folder", '""')
    settings = parse_settings(tomlkit.dumps(document), str(found.home.config), dict(os.environ))
    if settings.database.url and not is_postgresql:
        raise ConfigurationError("COVNODE__DATABASE__URL names another database: unset it, and restore again.")
    with _progress("copying files") as progress:
        found.restore(place, settings, progress)
    write_document(place, document)
    current, newest = revisions(open_node(place).engine)
    about = {
        "home": str(place.root),
        "made_at": found.manifest.made_at.isoformat(),
        "files": len(found.manifest.files),
        "size_bytes": found.manifest.size_bytes,
        "database_revision": found.manifest.revision,
    }
    if as_json:
        print_json(about)
        return
    stdout.print(f"{place.root} is the node of {found.manifest.made_at:%Y-%m-%d %H:%M} UTC.", highlight=False)
    stdout.print("Look whether its configuration fits this host: covnode config show. Start it: covnode serve.")
    if current != newest:
        stdout.print("Its database is of an older release: run 'covnode db upgrade' first.")
    if database_url:
        stdout.print("The worker has the node's way into the database: see 'covnode db roles', database.worker_url.")
