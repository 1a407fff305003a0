"""``covnode jobs``: analyses and deliveries."""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, LimitOption, node_of, show_found, show_rows, stdout
from covnode.errors import ConfigurationError, StaleClaim
from covnode.records.job import PriorityWord, priority_of
from covnode.store import analyses, control, deliveries, series, views
from covnode.wiring.lacking import refuse_without_files
from covnode.wiring.node import Node

app = typer.Typer(no_args_is_help=True, help="Analyses and deliveries.")
JobId = Annotated[str, typer.Argument(help="An id of 'covnode jobs list'.")]


@app.command("list")
def list_(
    dead: Annotated[
        bool, typer.Option("--dead", help="Only dead letters: analyses that failed, deliveries that are parked.")
    ] = False,
    home: HomeOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first.

    Example: `covnode jobs list --limit 1000 --json`, `covnode jobs list --dead`
    """
    with node_of(home).transaction() as session:
        rows = views.list_jobs(session, limit, dead=dead)
    columns = ["job_id", "kind", "of", "state", "priority", "progress", "attempts", "queued_at", "reason"]
    if not as_json:
        rows = [{**row, "state": f"{row['state']}, paused" if row["paused"] else row["state"]} for row in rows]
    show_rows(columns, rows, as_json=as_json)


@app.command()
def show(job_id: JobId, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its state, times, attempts, last error, host and device, its cautions or objects.

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
            if not job_id.startswith("del-"):
                refuse_without_files(node, session, job_id)
            if job_id.startswith("ser-"):
                series.release_from_quarantine(session, job_id)
            else:
                again = deliveries.retry if job_id.startswith("del-") else analyses.retry
                node.queue.enqueue(session, again(session, job_id))
    except StaleClaim:
        return False
    return True


@app.command()
def cancel(
    job_id: JobId,
    reason: Annotated[str, typer.Option(help="Why, for those who list it; no patient's name.")] = "by a person",
    home: HomeOption = None,
) -> None:
    """End an analysis that is queued or runs, or a delivery that is queued; 'retry' takes it up again.

    Example: `covnode jobs cancel ana-0b1c2d3e4f5a --reason "wrong protocol"`
    """
    try:
        with node_of(home).transaction() as session:
            control.cancel(session, job_id, reason)
    except StaleClaim:
        raise ConfigurationError(
            f"{job_id} is not there, has ended, or is just being sent: see 'covnode jobs list'."
        ) from None
    stdout.print(f"{job_id} is cancelled.", highlight=False)


@app.command()
def priority(
    job_id: JobId,
    word: Annotated[PriorityWord, typer.Argument(help="What is claimed first, next or last.")],
    home: HomeOption = None,
) -> None:
    """Give a queued analysis or delivery another priority.

    Example: `covnode jobs priority ana-0b1c2d3e4f5a stat`
    """
    node = node_of(home)
    try:
        with node.transaction() as session:
            node.queue.enqueue(session, control.prioritise(session, job_id, priority_of(word)))
    except StaleClaim:
        raise ConfigurationError(f"{job_id} is not there, or not queued any more: see 'covnode jobs list'.") from None
    stdout.print(f"{job_id} is queued with priority {word}.", highlight=False)
