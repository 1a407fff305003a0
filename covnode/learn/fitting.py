"""Fit a 3-D network to examples: Adam, a learning rate that decays exponentially, early stopping.

Takes a network, inputs and targets; leaves the network with the weights of its best epoch. The recipe of system A
(binary cross-entropy or mean squared error by the caller's choice), deterministic for a seed and a thread count.
"""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covnode.errors import ConfigurationError

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
    """Inputs float16 (n, 64, 128, 128), in memory or mapped from a file, and targets float32 (n,)."""

    inputs: NDArray[np.float16]
    targets: NDArray[np.float32]


def fit(
    network: nn.Module,
    training: Set,
    validation: Set,
    recipe: Recipe,
    report: Callable[[Epoch], None],
    checkpoint: Path | None = None,
) -> tuple[Epoch, ...]:
    """Fit the network in place, on the device that it is on; return its epochs.

    On CUDA the arithmetic is bfloat16 where torch holds it safe (AMP).

    Parameters
    ----------
    report
        Called after each epoch.
    checkpoint
        File that holds the whole state after each epoch; where it exists already, fitting goes on from it as if it had
        never stopped.

    Raises
    ------
    ConfigurationError
        The checkpoint is of another network or training.
    """
    state = _State(network, recipe)
    if checkpoint is not None and checkpoint.exists():
        state.restore(checkpoint)
    while not state.ended:
        training_loss = _epoch(state, training)
        state.schedule.step()
        outputs = torch.from_numpy(predict(network, validation.inputs))
        validation_loss = float(recipe.loss(outputs, torch.from_numpy(validation.targets)))
        state.keep(Epoch(len(state.epochs) + 1, training_loss, validation_loss))
        if checkpoint is not None:
            state.save(checkpoint)
        report(state.epochs[-1])
    network.load_state_dict(state.best)
    return tuple(state.epochs)


class _State:
    """All that changes while a network is fitted."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network = network
        self.recipe = recipe
        self.draw = torch.Generator().manual_seed(recipe.seed)
        self.optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, recipe.decay)
        self.best = copy.deepcopy(network.state_dict())
        self.epochs: list[Epoch] = []

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or the last ones made nothing better."""
        since_best = len(self.epochs) - self._best_number()
        return len(self.epochs) >= self.recipe.epochs or since_best >= self.recipe.patience

    def _best_number(self) -> int:
        return min(self.epochs, key=lambda epoch: epoch.validation_loss).number if self.epochs else 0

    def keep(self, epoch: Epoch) -> None:
        """Take an epoch in, and the weights if they are the best so far."""
        self.epochs.append(epoch)
        if self._best_number() == epoch.number:
            self.best = copy.deepcopy(self.network.state_dict())

    def save(self, path: Path) -> None:
        """Write everything, whole or not at all."""
        part = path.with_name(path.name + ".part")
        torch.save(
            {
                "network": self.network.state_dict(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
                "draw": self.draw.get_state(),
                "torch": torch.get_rng_state(),
                "epochs": [(epoch.number, epoch.training_loss, epoch.validation_loss) for epoch in self.epochs],
            },
            part,
        )
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Read what save wrote; ConfigurationError where it was another network or training."""
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
            self.network.load_state_dict(held["network"])
            self.optimiser.load_state_dict(held["optimiser"])
            self.schedule.load_state_dict(held["schedule"])
            self.draw.set_state(held["draw"])
            torch.set_rng_state(held["torch"])
            self.best = held["best"]
            self.epochs = [Epoch(*values) for values in held["epochs"]]
        except (RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise ConfigurationError(
                f"{path} is of another network or training ({type(error).__name__}): name another --out."
            ) from None


def _epoch(state: _State, training: Set) -> float:
    """Fit one epoch; return its mean loss. The next batch is read while the network computes on this one."""
    network, recipe = state.network.train(), state.recipe
    device = next(network.parameters()).device
    order = torch.randperm(len(training.targets), generator=state.draw).numpy()
    batches = [order[start : start + recipe.batch] for start in range(0, len(order), recipe.batch)]
    total = 0.0
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(_batch, training, batches[0])
        for number in range(len(batches)):
            inputs, targets = ahead.result()
            if number + 1 < len(batches):
                ahead = reader.submit(_batch, training, batches[number + 1])
            state.optimiser.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                outputs = network(_varied(inputs, state.draw).to(device))[:, 0]
            loss = recipe.loss(outputs.float(), targets.to(device))
            loss.backward()
            state.optimiser.step()
            total += loss.item() * len(targets)
    return total / len(training.targets)


def predict(network: nn.Module, inputs: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the network's linear outputs, float32 (n,)."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        volumes = (torch.from_numpy(one.astype(np.float32))[None, None].to(device) for one in inputs)
        outputs = [network(volume).reshape(()).cpu() for volume in volumes]
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
