"""``covnode housekeeping``: the files of series that have come to their end."""

from typing import Annotated

import typer

from covnode.cli.console import HomeOption, JsonOption, counting_progress, node_of, show_rows, stdout
from covnode.errors import ConfigurationError
from covnode.wiring.retention import Retention

app = typer.Typer(no_args_is_help=True, help="How long files are kept: [retention] of the configuration.")


@app.command()
def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove now what [retention] allows; the receiver does so once an hour. List it, and why the rest stays.

    Rows and sealed identities stay. Never removed: what is open, failed, blocked, in quarantine or not delivered.

    Example: `covnode housekeeping run --dry-run`
    """
    node = node_of(home)
    work = Retention(node)
    with counting_progress() as bar:
        task = bar.add_task("looking at series", total=None)

        def progress(looked_at: int) -> None:
            bar.update(task, completed=looked_at)

        try:
            outcomes = list(work.foretell(progress) if dry_run else work.run(progress=progress))
        except BlockingIOError:
            raise ConfigurationError(
                "a backup is being made, or another run is under way: run this again when it is done."
            ) from None
    removed = "would be removed" if dry_run else "removed"
    rows = [
        {
            "series_id": outcome.series_id,
            "files": removed if outcome.removed else "kept",
            "megabytes": round(outcome.size_bytes / 1e6, 1) if outcome.removed else None,
            "because": outcome.why,
        }
        for outcome in outcomes
    ]
    show_rows(["series_id", "files", "megabytes", "because"], rows, as_json=as_json)
    if not as_json:
        gone = [outcome for outcome in outcomes if outcome.removed]
        size_mb = sum(outcome.size_bytes for outcome in gone) / 1e6
        stdout.print(f"{len(gone)} of {len(outcomes)} series {removed}: {size_mb:.0f} MB.", highlight=False)
