"""Train a classification or severity network on a site's own data: a manifest CSV in, a bundle out.

Called by ``covnode train``; manifest -> split by patient -> inputs from the cache -> fitting -> bundle, with
training.csv, held-out.csv and epochs.csv beside it. What it writes claims nothing: its card says how it was trained,
and ``covnode evaluate`` measures it.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from covnode.errors import ConfigurationError
from covnode.infer.device import choose_device
from covnode.learn.bundle_writing import write_bundle
from covnode.learn.calibration import cool, fitted_temperature
from covnode.learn.fitting import Epoch, Loss, Recipe, Set, fit, predict
from covnode.learn.manifest import Row, Task, read_manifest, split_by_patient
from covnode.learn.site_data import load_inputs
from covnode.learn.train_demonstration import INPUT, OUTPUT
from covnode.networks.registry import build_network
from covnode.sections import is_model_name

CHECKPOINT, EPOCHS, TRAINING, HELD_OUT = "checkpoint.pt", "epochs.csv", "training.csv", "held-out.csv"

_LOSS: dict[Task, Loss] = {
    "classification": nn.functional.binary_cross_entropy_with_logits,
    "severity": nn.functional.mse_loss,
}


@dataclass(frozen=True)
class SitePlan:
    """What to train, on what, and how long.

    Attributes
    ----------
    out
        Folder of the bundle ``name`` and of what lies beside it.
    network
        A name of covnode.networks.registry.
    """

    task: Task
    data: Path
    out: Path
    name: str
    network: str
    epochs: int
    patience: int
    batch: int
    learning_rate: float
    decay: float
    held_out_percent: int
    seed: int
    device: str


class Told(Protocol):
    """Who is told of the progress."""

    def volumes(self, done: int, total: int) -> None:
        """Take in how many volumes are ready."""

    def epoch(self, epoch: Epoch) -> None:
        """Take in an epoch that is done."""


def train_site(plan: SitePlan, told: Told) -> Path:
    """Train and write the bundle; return its folder. A training that was stopped goes on where it stood.

    Raises
    ------
    ConfigurationError
        The name is none, the manifest or a volume cannot be used, the split leaves one side empty, or the network is
        unknown.
    """
    if not is_model_name(plan.name):
        raise ConfigurationError(f"{plan.name} is no name of a model: lower-case letters, digits, '.', '_' and '-'.")
    training, held_out = split_by_patient(read_manifest(plan.data, plan.task), plan.held_out_percent, plan.seed)
    plan.out.mkdir(parents=True, exist_ok=True)
    for name, rows in ((TRAINING, training), (HELD_OUT, held_out)):
        _write_rows(plan.out / name, rows, plan.task)
    device = choose_device(plan.device)
    torch.manual_seed(plan.seed)
    network = build_network(plan.network, {}).to(device)
    total = len(training) + len(held_out)
    sets = (
        _set(plan, training, lambda done: told.volumes(done, total)),
        _set(plan, held_out, lambda done: told.volumes(len(training) + done, total)),
    )
    recipe = Recipe(
        loss=_LOSS[plan.task],
        epochs=plan.epochs,
        seed=plan.seed,
        batch=plan.batch,
        learning_rate=plan.learning_rate,
        decay=plan.decay,
        patience=plan.patience,
    )
    epochs = fit(network, *sets, recipe, told.epoch, plan.out / CHECKPOINT)
    _write_epochs(plan.out / EPOCHS, epochs)
    card = _card(plan, epochs)
    if plan.task == "classification":
        temperature = fitted_temperature(predict(network, sets[1].inputs), sets[1].targets)
        cool(network, temperature)
        card += (
            f"\nCalibrated on the held-out patients by a temperature of {temperature:.2f}, which the weights hold.\n"
        )
    write_bundle(plan.out / plan.name, network.cpu(), _description(plan, training, held_out), card)
    return plan.out / plan.name


def _set(plan: SitePlan, rows: tuple[Row, ...], ready: Callable[[int], None]) -> Set:
    targets = np.array([row.target for row in rows], dtype=np.float32)
    scaled = targets / np.float32(100.0) if plan.task == "severity" else targets
    return Set(load_inputs(rows, plan.out / "cache", ready), scaled)


def _write_rows(path: Path, rows: tuple[Row, ...], task: Task) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "patient", "score" if task == "severity" else "label"])
        writer.writerows([str(row.path.resolve()), row.patient, f"{row.target:g}"] for row in rows)


def _write_epochs(path: Path, epochs: tuple[Epoch, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "training_loss", "held_out_loss"])
        writer.writerows([epoch.number, epoch.training_loss, epoch.validation_loss] for epoch in epochs)


def _description(plan: SitePlan, training: tuple[Row, ...], held_out: tuple[Row, ...]) -> dict[str, object]:
    patients = [len({row.patient for row in rows}) for rows in (training, held_out)]
    return {
        "name": plan.name,
        "version": "1.0.0",
        "task": plan.task,
        "training_data": f"{len(training)} volumes of {patients[0]} patients of the site (seed {plan.seed}); "
        f"{len(held_out)} of {patients[1]} held out; not for clinical use until the site has evaluated it",
        "authors": "the site that trained it",
        "copyright": "the site's own",
        "licence": "as the site decides",
        "intended_use": "Not for clinical use until the site has evaluated it on its own patients",
        "demonstration": False,
        "network": {"name": plan.network, "arguments": {}},
        "input": INPUT,
        "output": OUTPUT[plan.task],
    }


def _card(plan: SitePlan, epochs: tuple[Epoch, ...]) -> str:
    best = min(epochs, key=lambda epoch: epoch.validation_loss)
    return f"""# {plan.name}

Trained on a site's own data by `covnode train {plan.task}`. **Not for clinical use until evaluated.**

Network {plan.network}, {len(epochs)} epochs, the weights of epoch {best.number}: held-out loss
{best.validation_loss:.4f}. The held-out patients chose the epoch, so that figures on them flatter: evaluate on others,
by `covnode evaluate`.
"""
