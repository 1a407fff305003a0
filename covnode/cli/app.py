"""The command ``covnode``: one file per noun, errors without a traceback.

Exit codes of every command: 0 done; 1 an error that the message explains; 2 wrong usage; 3 done, but nothing could be
analysed, delivered or confirmed.
"""

import typer

from covnode.cli import (
    analyse,
    backup,
    chaos,
    config,
    db,
    deidentify,
    demo,
    doctor,
    evaluate,
    fetch,
    housekeeping,
    identities,
    init,
    jobs,
    models,
    peer,
    phantom,
    push,
    queues,
    rules,
    series,
    serve,
    train,
)
from covnode.cli.console import run

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="covnode: a chest CT comes in by C-STORE, a Structured Report and a Segmentation go back to the PACS. "
    "Shipped models: demonstration, not for clinical use.",
)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("receive")(serve.receive)
app.command("work")(serve.work)
app.command("send")(serve.send)
app.command("analyse")(analyse.analyse)
app.command("deidentify")(deidentify.deidentify)
app.command("push")(push.push)
app.command("fetch")(fetch.fetch)
app.command("phantom")(phantom.phantom)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("chaos")(chaos.chaos)
app.command("stand-in-pacs")(demo.stand_in_pacs)
app.add_typer(config.app, name="config")
app.add_typer(peer.app, name="peer")
app.add_typer(series.app, name="series")
app.add_typer(rules.app, name="rules")
app.add_typer(jobs.app, name="jobs")
app.add_typer(queues.app, name="queues")
app.add_typer(housekeeping.app, name="housekeeping")
app.add_typer(identities.app, name="identities")
app.add_typer(models.app, name="models")
app.add_typer(db.app, name="db")


def main() -> None:
    """Run the command line."""
    run(app)
