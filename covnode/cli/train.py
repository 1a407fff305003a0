"""``covnode train``: networks for classification and severity, on a site's data or on phantoms."""

import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from covnode.cli.console import stderr, stdout
from covnode.errors import ConfigurationError

if TYPE_CHECKING:
    from covnode.learn.fitting import Epoch


class TaskName(StrEnum):
    """What a network answers."""

    CLASSIFICATION = "classification"
    SEVERITY = "severity"


class _Shown:
    """Bars of what is trained."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._volumes: TaskID = progress.add_task("volumes", total=None)
        self._epochs: TaskID = progress.add_task("epochs", total=epochs)

    def volumes(self, done: int, total: int) -> None:
        self._progress.update(self._volumes, completed=done, total=total)

    def epoch(self, epoch: "Epoch") -> None:
        self._progress.update(self._epochs, completed=epoch.number)
        self._progress.console.print(
            f"epoch {epoch.number}: training {epoch.training_loss:.4f}, held out {epoch.validation_loss:.4f}"
        )


def train(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the bundle; the same folder goes on with a stopped training.")],
    task: Annotated[TaskName | None, typer.Argument(help="What to train on --data.", show_default=False)] = None,
    data: Annotated[
        Path | None, typer.Option(help="CSV of path, patient, and label (0, 1) or score (0 to 100).", dir_okay=False)
    ] = None,
    phantoms: Annotated[bool, typer.Option("--phantoms", help="The demonstration models, from nothing.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; site-TASK by default.")] = None,
    network: Annotated[str, typer.Option(help="zunair3d, densenet3d, densenet121, resnet18, seresnet50 ...")] = (
        "zunair3d"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 34,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better held-out loss.")] = 8,
    batch: Annotated[int, typer.Option(min=2, help="Volumes a step.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Adam's, of the first epoch.")] = 1e-4,
    decay: Annotated[float, typer.Option(min=0.0, max=1.0, help="Its factor after each epoch.")] = 0.96,
    held_out_percent: Annotated[int, typer.Option(min=1, max=90, help="Patients that are not trained on.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the weights and the order.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda:N.")] = "cpu",
) -> None:
    """Train a classification or severity network: DICOM folders or NIfTI files of a CSV, split by patient.

    Example: `covnode train classification --data ./data.csv --out ./trained --network densenet121`

    `covnode train --phantoms --out models` makes the shipped demonstration models again.
    """
    if phantoms in {task is not None, data is not None}:
        raise ConfigurationError("Name a task and --data, or --phantoms alone.")
    if phantoms:
        _train_demonstration(out, seed)
        return
    from covnode.learn.site_training import SitePlan, train_site  # noqa: PLC0415 (torch loads slowly, and only here)

    plan = SitePlan(
        task="classification" if task is TaskName.CLASSIFICATION else "severity",
        data=data or Path(),
        out=out,
        name=name or f"site-{task}",
        network=network,
        epochs=epochs,
        patience=patience,
        batch=batch,
        learning_rate=learning_rate,
        decay=decay,
        held_out_percent=held_out_percent,
        seed=seed,
        device=device,
    )
    with Progress(console=stderr) as progress:
        bundle = train_site(plan, _Shown(progress, epochs))
    stdout.print(f"Wrote the bundle {bundle}; measure it: covnode evaluate {bundle} --data CSV --out FOLDER.")


def _train_demonstration(out: Path, seed: int) -> None:
    from covnode.learn.train_demonstration import Plan, train  # noqa: PLC0415 (as above)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(Plan(out=out, seed=seed, processes=os.cpu_count() or 1))
    stdout.print(f"Wrote the demonstration models to {out}: demonstration, not for clinical use.")
