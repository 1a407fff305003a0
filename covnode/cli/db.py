"""``covnode db``: the tables."""

from pathlib import Path
from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, counting_progress, home_of, show_rows, stdout
from covnode.deidentify.key_file import KeyFile
from covnode.errors import ConfigurationError
from covnode.store.audit import Action
from covnode.store.engine import make_engine, revisions
from covnode.store.roles import role_statements
from covnode.store.transfer import transfer
from covnode.wiring.identities import person
from covnode.wiring.key_rotation import tie_all
from covnode.wiring.node import PROCESSES, hold_lock, open_node

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
    for name in {*(f"{role}-0" for role in PROCESSES), *(path.stem for path in node.home.locks.glob("*.lock"))}:
        hold_lock(node.home, name, f"the node runs on {node.home.root} ({name}): stop it first.")
    node.require_current_database()
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
