"""``covnode db``: the tables."""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, counting_progress, home_of, stdout
from covnode.deidentify.key_file import KeyFile
from covnode.errors import ConfigurationError
from covnode.store.audit import Action
from covnode.store.engine import revisions
from covnode.store.roles import role_statements
from covnode.wiring.identities import person
from covnode.wiring.key_rotation import tie_all
from covnode.wiring.node import open_node

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
