"""Train the two demonstration models on phantoms and write their bundles.

    covnode train --phantoms --out models

Phantoms -> examples -> two networks -> bundles with figures measured on held-out phantoms. Repeatable: equal arguments
on the same processor and library versions give equal weights. Nothing here was ever measured on a patient.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from covnode.imaging.resampling import NETWORK_SHAPE, WINDOW_HU
from covnode.learn.bundle_writing import write_bundle
from covnode.learn.calibration import cool, fitted_temperature
from covnode.learn.demonstration_cards import classifier_card, severity_card
from covnode.learn.demonstration_data import Examples, stack_examples
from covnode.learn.fitting import Epoch, Loss, Recipe, Set, fit, predict
from covnode.networks.registry import build_network
from covnode.records.result import DEMONSTRATION

log = logging.getLogger(__name__)

VERSION = "0.2.0"
NETWORK: dict[str, object] = {
    "name": "densenet3d",
    "arguments": {"init_features": 16, "growth_rate": 8, "block_config": [2, 3, 4]},
}
INPUT: dict[str, object] = {
    "shape_kji": list(NETWORK_SHAPE),
    "spacing": "the lungs' bounding box stretched to the shape: no fixed spacing",
    "window_hu": list(WINDOW_HU),
    "region": "inside the lung mask; 0 outside",
}
OUTPUT: dict[str, dict[str, object]] = {
    "classification": {
        "meaning": "probability of COVID-19: the sigmoid of the linear output",
        "minimum": 0.0,
        "maximum": 1.0,
    },
    "severity": {
        "meaning": "score: affected lung in percent, 100 x the linear output",
        "minimum": 0.0,
        "maximum": 100.0,
    },
}
# Held-out phantoms have seeds that training never uses, however many phantoms it is given.
_VALIDATION_SEEDS_FROM = 900_000
_DECAY = 0.7


@dataclass(frozen=True)
class Plan:
    """How much to train.

    Attributes
    ----------
    phantoms
        Training phantoms; a quarter as many more are held out.
    epochs
        At most; early stopping may end before.
    processes
        That make phantoms at the same time.
    """

    out: Path
    phantoms: int = 288
    epochs: int = 5
    seed: int = 0
    processes: int = 1

    @property
    def training_seeds(self) -> range:
        """Seeds of the training phantoms."""
        first = 1_000_000 * (1 + self.seed)
        return range(first, first + self.phantoms)

    @property
    def validation_seeds(self) -> range:
        """Seeds of the held-out phantoms."""
        return range(_VALIDATION_SEEDS_FROM, _VALIDATION_SEEDS_FROM + max(4, self.phantoms // 4))


def train(plan: Plan) -> None:
    """Train both models and write their bundles into ``plan.out``."""
    # One thread: their number changes the weights in the last digits.
    torch.set_num_threads(1)
    log.info("making %d + %d phantoms", len(plan.training_seeds), len(plan.validation_seeds))
    training, validation = (
        stack_examples(seeds, plan.processes) for seeds in (plan.training_seeds, plan.validation_seeds)
    )
    _train_classifier(plan, training, validation)
    _train_severity(plan, training, validation)


def _train_classifier(plan: Plan, training: Examples, validation: Examples) -> None:
    targets = [examples.is_covid.astype(np.float32) for examples in (training, validation)]
    loss = nn.functional.binary_cross_entropy_with_logits
    network, epochs = _fitted(plan, Set(training.inputs, targets[0]), Set(validation.inputs, targets[1]), loss)
    logits = predict(network, validation.inputs)
    temperature = fitted_temperature(logits, targets[1])
    cool(network, temperature)
    card = classifier_card(logits > 0.0, validation.is_covid, plan.phantoms, epochs, temperature)
    write_bundle(
        plan.out / "covid-classifier-demo",
        network,
        _description("covid-classifier-demo", "classification", plan),
        card,
        _training(plan),
    )


def _train_severity(plan: Plan, training: Examples, validation: Examples) -> None:
    targets = [examples.affected_percent / 100.0 for examples in (training, validation)]
    loss = nn.functional.mse_loss
    network, epochs = _fitted(plan, Set(training.inputs, targets[0]), Set(validation.inputs, targets[1]), loss)
    scores = np.clip(100.0 * predict(network, validation.inputs), 0.0, 100.0)
    card = severity_card(scores, validation.affected_percent, plan.phantoms, epochs)
    write_bundle(
        plan.out / "severity-demo",
        network,
        _description("severity-demo", "severity", plan),
        card,
        _training(plan),
    )


def _training(plan: Plan) -> dict[str, object]:
    """Return the training as a configuration of MONAI: ``python -m monai.bundle run --config_file train.json``."""
    return {
        "imports": ["$import pathlib", "$import covnode.learn.train_demonstration"],
        "out": "models",
        "plan": {
            "_target_": "covnode.learn.train_demonstration.Plan",
            "out": "$pathlib.Path(@out)",
            "phantoms": plan.phantoms,
            "epochs": plan.epochs,
            "seed": plan.seed,
        },
        "run": ["$covnode.learn.train_demonstration.train(@plan)"],
    }


def _fitted(plan: Plan, training: Set, validation: Set, loss: Loss) -> tuple[nn.Module, tuple[Epoch, ...]]:
    torch.manual_seed(plan.seed)
    arguments = NETWORK["arguments"]
    network = build_network(str(NETWORK["name"]), arguments if isinstance(arguments, dict) else {})
    # A fifth faster on a CPU.
    network = nn.utils.convert_conv3d_weight_memory_format(network, torch.channels_last_3d)
    recipe = Recipe(loss=loss, epochs=plan.epochs, seed=plan.seed, decay=_DECAY)
    return network, fit(network, training, validation, recipe, _log_epoch)


def _log_epoch(epoch: Epoch) -> None:
    log.info("epoch %d: training %.4f, held out %.4f", epoch.number, epoch.training_loss, epoch.validation_loss)


def _description(name: str, task: str, plan: Plan) -> dict[str, object]:
    return {
        "name": name,
        "version": VERSION,
        "task": task,
        "training_data": f"{plan.phantoms} synthetic phantoms of covnode (seed {plan.seed}); no patient",
        "licence": "Apache-2.0",
        "intended_use": f"Shows that the node works: {DEMONSTRATION}",
        "demonstration": True,
        "network": NETWORK,
        "input": INPUT,
        "output": OUTPUT[task],
    }
