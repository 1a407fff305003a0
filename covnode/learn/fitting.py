"""Fit a 3-D network to examples: Adam, a learning rate that decays exponentially, early stopping.

Takes a network, inputs and targets; leaves the network with the weights of its best epoch. The recipe of system A
(binary cross-entropy or mean squared error by the caller's choice), deterministic for a seed and a thread count.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# Of 64 slices, how many are averaged: from as scanned to 20 mm thick.
_WIDTHS = (1, 1, 1, 3, 5)

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to fit.

    Attributes
    ----------
    decay
        The learning rate's factor after each epoch.
    patience
        Epochs without a better validation loss before fitting stops.
    """

    loss: Loss
    epochs: int
    seed: int
    batch: int = 8
    learning_rate: float = 3e-3
    decay: float = 0.88
    patience: int = 4


@dataclass(frozen=True)
class Epoch:
    """Losses of one epoch."""

    number: int
    training_loss: float
    validation_loss: float


@dataclass(frozen=True)
class Set:
    """Inputs float16 (n, 64, 128, 128) and targets float32 (n,)."""

    inputs: NDArray[np.float16]
    targets: NDArray[np.float32]


def fit(
    network: nn.Module, training: Set, validation: Set, recipe: Recipe, report: Callable[[Epoch], None]
) -> tuple[Epoch, ...]:
    """Fit the network in place; return its epochs.

    Parameters
    ----------
    report
        Called after each epoch.
    """
    draw = torch.Generator().manual_seed(recipe.seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, recipe.decay)
    best, best_loss, epochs = copy.deepcopy(network.state_dict()), float("inf"), list[Epoch]()
    for number in range(1, recipe.epochs + 1):
        network.train()
        total = 0.0
        order = torch.randperm(len(training.targets), generator=draw).numpy()
        for start in range(0, len(order), recipe.batch):
            inputs, targets = _batch(training, order[start : start + recipe.batch])
            optimiser.zero_grad()
            loss = recipe.loss(network(_varied(inputs, draw))[:, 0], targets)
            loss.backward()
            optimiser.step()
            total += loss.item() * len(targets)
        schedule.step()
        outputs = torch.from_numpy(predict(network, validation.inputs))
        validation_loss = float(recipe.loss(outputs, torch.from_numpy(validation.targets)))
        epochs.append(Epoch(number, total / len(training.targets), validation_loss))
        report(epochs[-1])
        if validation_loss < best_loss:
            best, best_loss = copy.deepcopy(network.state_dict()), validation_loss
        elif number - min(epochs, key=lambda epoch: epoch.validation_loss).number >= recipe.patience:
            break
    network.load_state_dict(best)
    return tuple(epochs)


def predict(network: nn.Module, inputs: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the network's linear outputs, float32 (n,)."""
    network.eval()
    with torch.inference_mode():
        outputs = [network(torch.from_numpy(one.astype(np.float32))[None, None]).reshape(()) for one in inputs]
    stacked: NDArray[np.float32] = torch.stack(outputs).numpy()
    return stacked


def _batch(examples: Set, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.from_numpy(examples.inputs[rows].astype(np.float32))[:, None]
    return inputs, torch.from_numpy(examples.targets[rows])


def _varied(inputs: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Mirror left and right, thicken the slices, shift and stretch the densities inside the lungs, add noise.

    The shift of up to 50 HU is what inspiration, kernels and scanners differ by.
    """
    shape = (len(inputs), 1, 1, 1, 1)
    widths = [width for width in _WIDTHS if width <= inputs.shape[2]]
    width = widths[int(torch.randint(len(widths), (1,), generator=draw))]
    inputs = nn.functional.avg_pool3d(inputs, (width, 1, 1), 1, (width // 2, 0, 0), count_include_pad=False)
    lung = inputs > 0
    stretch = 1.0 + 0.08 * (2.0 * torch.rand(shape, generator=draw) - 1.0)
    shift = 0.036 * (2.0 * torch.rand(shape, generator=draw) - 1.0)
    noise = 0.04 * torch.rand(shape, generator=draw) * torch.randn(inputs.shape, generator=draw)
    varied = torch.where(lung, (inputs * stretch + shift + noise).clamp(0.0, 1.0), inputs)
    mirrored = torch.rand(shape, generator=draw) < 0.5
    return torch.where(mirrored, varied.flip(-1), varied)
