"""``covnode db``: the tables."""

import typer

from covnode.cli.console import HomeOption, home_of, stdout
from covnode.store.engine import revisions
from covnode.wiring.node import open_node

app = typer.Typer(no_args_is_help=True, help="The database.")


@app.command()
def upgrade(home: HomeOption = None) -> None:
    """Make or migrate the tables; data are kept.

    Example: `covnode db upgrade`
    """
    node = open_node(home_of(home))
    node.upgrade_database()
    stdout.print(f"The database is at revision {revisions(node.engine)[0]}.", highlight=False)


@app.command()
def check(home: HomeOption = None) -> None:
    """Check that the tables fit this release.

    Example: `covnode db check`
    """
    node = open_node(home_of(home))
    node.require_current_database()
    stdout.print(f"The database is at revision {revisions(node.engine)[0]}, as this release needs.", highlight=False)
