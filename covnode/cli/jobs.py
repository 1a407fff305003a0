"""``covnode jobs``: analyses and deliveries."""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, LimitOption, node_of, show_found, show_rows, stdout
from covnode.errors import ConfigurationError, StaleClaim
from covnode.store import analyses, deliveries, series, views

app = typer.Typer(no_args_is_help=True, help="Analyses and deliveries.")
JobId = Annotated[str, typer.Argument(help="An id of 'covnode jobs list'.")]


@app.command("list")
def list_(home: HomeOption = None, limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List jobs, newest first.

    Example: `covnode jobs list --limit 1000 --json`
    """
    with node_of(home).transaction() as session:
        rows = views.list_jobs(session, limit)
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
    job_id: Annotated[str, typer.Argument(help="A job that ended without success, or a quarantined series.")],
    home: HomeOption = None,
) -> None:
    """Queue a job that ended without success once more, or take a quarantined series in again.

    Example: `covnode jobs retry del-5a4f3e2d1c0b`
    """
    node = node_of(home)
    try:
        with node.transaction() as session:
            if job_id.startswith("ser-"):
                series.release_from_quarantine(session, job_id)
            else:
                again = deliveries.retry if job_id.startswith("del-") else analyses.retry
                node.queue.enqueue(session, again(session, job_id))
    except StaleClaim:
        raise ConfigurationError(
            f"{job_id} is not there, or in no state to be tried again: see 'covnode jobs list'."
        ) from None
    stdout.print(f"{job_id} is queued again.", highlight=False)
