"""``covnode evaluate``: a model measured on labelled volumes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from covnode.cli.console import JsonOption, print_json, stderr, stdout


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder of a model bundle.", exists=True, file_okay=False)],
    data: Annotated[Path, typer.Option(help="CSV of path, patient, and label or score.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder of report.html, report.json and the plots.")],
    device: Annotated[str, typer.Option(help="cpu, or cuda:N.")] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Measure a classification or severity model on labelled volumes; of a classification with 95 % intervals.

    Example: `covnode evaluate ./trained/site-classification --data ./test.csv --out ./report`
    """
    from covnode.learn.evaluation import REPORT_HTML, evaluate  # noqa: PLC0415 (torch loads slowly, and only here)

    with Progress(console=stderr, transient=True) as progress:
        bar = progress.add_task("volumes", total=None)
        report = evaluate(bundle, data, out, device, lambda done: progress.update(bar, completed=done))
    if as_json:
        print_json(report)
    else:
        stdout.print(f"Wrote {out / REPORT_HTML}: {report['volumes']} volumes of {report['patients']} patients.")
