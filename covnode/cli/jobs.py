"""``covnode jobs``: analyses and deliveries."""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, node_of, show_found, show_rows, stdout
from covnode.errors import ConfigurationError, StaleClaim
from covnode.store import analyses, deliveries, series, views
from covnode.wiring.node import Node

app = typer.Typer(no_args_is_help=True, help="Analyses and deliveries.")
JobId = Annotated[str, typer.Argument(help="An id of 'covnode jobs list'.")]


@app.command("list")
def list_(
    dead: Annotated[
        bool, typer.Option("--dead", help="Only dead letters: analyses that failed, deliveries that are parked.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List all jobs, newest first.

    Example: `covnode jobs list --dead --json`
    """
    with node_of(home).transaction() as session:
        rows = [row for row in views.list_jobs(session) if not dead or row["state"] in views.DEAD_LETTERS]
    columns = ["job_id", "kind", "of", "state", "progress", "attempts", "queued_at", "reason"]
    show_rows(columns, rows, as_json=as_json)


@app.command()
def show(job_id: JobId, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its states, times, cautions and objects.

    Example: `covnode jobs show ana-0b1c2d3e4f5a`
    """
    with node_of(home).transaction() as session:
        found = views.show_job(session, job_id)
    show_found(found, f"there is no job {job_id}: 'covnode jobs list' lists all.", as_json=as_json)


@app.command()
def retry(
    job_id: Annotated[
        str | None, typer.Argument(help="A job that ended without success, or a quarantined series.")
    ] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All of 'covnode jobs list --dead'.")] = False,
    destination: Annotated[
        str | None, typer.Option("--destination", help="With --all-dead: the deliveries to this peer alone.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Queue what ended without success once more, or take a quarantined series in again.

    Example: `covnode jobs retry del-5a4f3e2d1c0b`, `covnode jobs retry --all-dead --destination pacs`
    """
    if (job_id is None) != all_dead or (destination is not None and not all_dead):
        raise typer.BadParameter("give one id, or --all-dead with or without --destination")
    node = node_of(home)
    if job_id is None:
        with node.transaction() as session:
            dead = [*deliveries.parked(session, destination), *([] if destination else analyses.failed(session))]
        stdout.print(f"{sum(_retry(node, each) for each in dead)} jobs are queued again.", highlight=False)
    elif _retry(node, job_id):
        stdout.print(f"{job_id} is queued again.", highlight=False)
    else:
        raise ConfigurationError(f"{job_id} is not there, or in no state to be tried again: see 'covnode jobs list'.")


def _retry(node: Node, job_id: str) -> bool:
    """Queue one job again; return whether it was there and in a state for it."""
    try:
        with node.transaction() as session:
            if job_id.startswith("ser-"):
                series.release_from_quarantine(session, job_id)
            else:
                again = deliveries.retry if job_id.startswith("del-") else analyses.retry
                node.queue.enqueue(session, again(session, job_id))
    except StaleClaim:
        return False
    return True
