"""``covnode db``: the tables."""

from pathlib import Path
from typing import Annotated

import typer

from covnode.cli.console import (
    HomeOption,
    JsonOption,
    counting_progress,
    home_of,
    print_json,
    show_rows,
    stderr,
    stdout,
)
from covnode.deidentify.key_file import KeyFile
from covnode.errors import ConfigurationError
from covnode.queue.leases import SILENT_S
from covnode.store import downgrade as way_back
from covnode.store import executors
from covnode.store.audit import Action
from covnode.store.engine import make_engine, revisions
from covnode.store.roles import role_statements
from covnode.store.transfer import transfer
from covnode.wiring.identities import person
from covnode.wiring.key_rotation import tie_all
from covnode.wiring.node import PROCESSES, Node, hold_lock, open_node

app = typer.Typer(no_args_is_help=True, help="The database.")


@app.command()
def upgrade(home: HomeOption = None) -> None:
    """Make or migrate the tables; data are kept.

    Example: `covnode db upgrade`
    """
    node = open_node(home_of(home))
    node.upgrade_database()
    if node.home.keys.exists():
        with counting_progress() as bar:
            task = bar.add_task("tying identities", total=None)
            upgrading = person(Action.TIE, "an upgrade of the database")
            tie_all(node, KeyFile(node.home.keys), upgrading, lambda n, of: bar.update(task, completed=n, total=of))
    stdout.print(f"The database is at revision {revisions(node.engine)[0]}.", highlight=False)


# The revision may begin with a dash.
@app.command(context_settings={"ignore_unknown_options": True})
def downgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REVISION", help="Where to go back to: 0009, or -1 for one migration.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to the tables of an older release: list what it has no place for, ask, and drop that.

    An older release works on newer tables as long as they have only more, so this is for those that it refuses. Stop
    the node on every host, back it up (`covnode backup`), run this by the newer release, then install the older one.

    Example: `covnode db downgrade 0009`, `covnode db downgrade -1 --yes --json`
    """
    node = open_node(home_of(home))
    scripts = way_back.undone(node.engine, revision)
    _require_stopped(node)
    lost = way_back.losses(node.engine, scripts)
    say = stderr if as_json else stdout
    for script in scripts:
        say.print(f"undone: {script.revision} {script.doc}", markup=False, highlight=False)
    for each in lost:
        what = f"{each.table}, rows" if each.column is None else f"{each.table}.{each.column}, values"
        say.print(f"lost: {what}: {each.rows}", markup=False, highlight=False)
    if scripts and not yes and not typer.confirm("Go back, and lose this?" if lost else "Go back?", err=as_json):
        raise ConfigurationError("nothing was changed.")
    before, _ = revisions(node.engine)
    way_back.downgrade(node.engine, scripts)
    now, _ = revisions(node.engine)
    if as_json:
        undone = [script.revision for script in scripts]
        print_json({"from": before, "to": now, "undone": undone, "lost": [each._asdict() for each in lost]})
        return
    stdout.print(f"The database is at revision {now}.", highlight=False)


def _require_stopped(node: Node) -> None:
    """Hold every lock of this home, and look for life on the others.

    Raises
    ------
    ConfigurationError
        A process of the node runs.
    """
    for name in {*(f"{role}-0" for role in PROCESSES), *(path.stem for path in node.home.locks.glob("*.lock"))}:
        hold_lock(node.home, name, f"the node runs on {node.home.root} ({name}): stop it first.")
    with node.transaction() as session:
        living = [row.executor_id for row in executors.living(session, SILENT_S)]
    if living:
        raise ConfigurationError(
            f"{', '.join(sorted(living))} worked on the database within {SILENT_S:g} s: stop the node on every host, "
            "then run this again."
        )


@app.command()
def check(home: HomeOption = None) -> None:
    """Check that the tables fit this release.

    Example: `covnode db check`
    """
    node = open_node(home_of(home))
    node.require_current_database()
    stdout.print(f"The database is at revision {revisions(node.engine)[0]}, as this release needs.", highlight=False)


@app.command()
def roles(
    node_role: Annotated[str, typer.Option(help="Role of receiver, sender and commands.")] = "covnode_node",
    worker_role: Annotated[str, typer.Option(help="Role of the worker.")] = "covnode_worker",
    home: HomeOption = None,
) -> None:
    """Print the SQL that gives receiver, sender and worker their least rights in PostgreSQL.

    The worker's role reads neither identities nor patients nor the audit trail. Run it as the owner of the tables, then
    set the roles' passwords, database.url and database.worker_url; upgrades stay with the owner
    (COVNODE__DATABASE__URL), and after one this is run again.

    Example: `covnode db roles | psql --dbname covnode`
    """
    url = open_node(home_of(home)).engine.url
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError("SQLite knows no roles: set database.url to a PostgreSQL database first.")
    for statement in role_statements(url.database or "", node_role, worker_role):
        stdout.print(f"{statement};", markup=False, highlight=False)


@app.command("migrate-from")
def migrate_from(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The SQLite database of a stopped node: covnode.db.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy everything from SQLite into the empty PostgreSQL database that database.url names.

    Stop the node, set database.url, run `covnode db upgrade`, then this, as the owner of the tables. All are copied in
    one transaction, read back and compared. The file stays as it is. What was open goes on when the node starts.

    Example: `covnode db migrate-from /srv/covnode/covnode.db`
    """
    node = open_node(home_of(home))
    if node.engine.dialect.name != "postgresql":
        raise ConfigurationError("database.url names no PostgreSQL database: set it first, see 'covnode config set'.")
    if not file.is_file():
        raise ConfigurationError(f"{file} is no file: name the SQLite database, covnode.db in the node's folder.")
    node.require_current_database()
    _require_stopped(node)
    source = make_engine(f"sqlite:///{file.absolute()}")
    current, newest = revisions(source)
    if current != newest:
        raise ConfigurationError(
            f"{file} is at revision {current or 'none'}, this release needs {newest}: run 'covnode db upgrade' while "
            "database.url is empty."
        )
    with counting_progress() as bar:
        task = bar.add_task("copying rows", total=None)
        copied = transfer(source, node.engine, lambda done, total: bar.update(task, completed=done, total=total))
    show_rows(["table", "rows", "digest"], [one._asdict() for one in copied], as_json=as_json)
