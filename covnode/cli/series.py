"""``covnode series``: what came in, under our own ids."""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, node_of, show_found, show_rows
from covnode.store import views

app = typer.Typer(no_args_is_help=True, help="What came in, under the node's own ids.")


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List all series, newest first.

    Example: `covnode series list --json`
    """
    with node_of(home).transaction() as session:
        rows = views.list_series(session)
    show_rows(["series_id", "state", "instances", "revision", "received_at", "from", "reason"], rows, as_json=as_json)


@app.command()
def show(
    series_id: Annotated[str, typer.Argument(help="An id of 'covnode series list'.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one series: why it counts as complete, its analyses, its deliveries.

    Example: `covnode series show ser-3f9c0a1b2c4d`
    """
    with node_of(home).transaction() as session:
        found = views.show_series(session, series_id)
    show_found(found, f"there is no series {series_id}: 'covnode series list' lists all.", as_json=as_json)
