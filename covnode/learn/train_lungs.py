"""Train R231's network for some minutes on phantoms: weights to hold engines against each other with, for no patient.

    python -m covnode.learn.train_lungs --out weights.pth

Phantoms -> slices as the node gives them to the network -> a state dictionary as lungmask's are. The published weights
cannot always be had where tests run, and random ones decide nothing clearly enough to be compared.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from covnode.infer.slice_crops import SIDE, Boxes, cut_out
from covnode.learn.phantom import PhantomPreset, make_phantom
from covnode.networks.lungmask_unet import lungmask_unet

log = logging.getLogger(__name__)

_SIZE, _SLICES = 256, 24
_BATCH = 4
_LEARNING_RATE = 1e-3
_LOG_EVERY = 20


def train(network: nn.Module, phantoms: int, steps: int, seed: int) -> None:
    """Fit the network in place, on bfloat16 arithmetic where the CPU has it."""
    draw = torch.Generator().manual_seed(seed)
    inputs, targets = _examples(phantoms, seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    for step, rows in zip(range(1, steps + 1), _batches(len(inputs), draw), strict=False):
        batch, wanted = _varied(inputs[rows], targets[rows], draw)
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = network(batch.to(memory_format=torch.channels_last))
        loss = nn.functional.nll_loss(scores.float(), wanted)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % _LOG_EVERY == 0:
            log.info("step %d of %d: loss %.4f", step, steps, loss.item())
    network.eval()


def _examples(phantoms: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return slices float32 (n, 1, 256, 256) and their labels int64 (n, 256, 256)."""
    slices, labels = [], []
    presets = tuple(PhantomPreset)
    for number in range(phantoms):
        preset = presets[number % len(presets)]
        phantom = make_phantom(preset, slices=_SLICES, seed=1000 * (seed + 1) + number, size=_SIZE)
        cut, boxes = cut_out(phantom.voxels_hu)
        slices.append(cut)
        labels.append(_cut_labels(phantom.lung_labels, boxes))
    return torch.from_numpy(np.concatenate(slices))[:, None], torch.from_numpy(np.concatenate(labels)).long()


def _cut_labels(labels: NDArray[np.uint8], boxes: Boxes) -> NDArray[np.uint8]:
    bodies = [one[top:bottom, left:right] for one, (top, left, bottom, right) in zip(labels, boxes, strict=True)]
    return np.stack([ndimage.zoom(body, SIDE / np.asarray(body.shape), order=0) for body in bodies])


def _batches(count: int, draw: torch.Generator) -> Iterator[torch.Tensor]:
    while True:
        yield from torch.split(torch.randperm(count, generator=draw), _BATCH)


def _varied(slices: torch.Tensor, labels: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift and stretch the densities, add noise, move the slice: what scanners and patients differ by."""
    shape = (len(slices), 1, 1, 1)
    stretch = 1.0 + 0.1 * (2.0 * torch.rand(shape, generator=draw) - 1.0)
    shift = 0.03 * (2.0 * torch.rand(shape, generator=draw) - 1.0)
    noise = 0.03 * torch.rand(shape, generator=draw) * torch.randn(slices.shape, generator=draw)
    moved = torch.randint(-24, 25, (2,), generator=draw).tolist()
    varied = (slices * stretch + shift + noise).clamp(0.0, 1.0)
    return varied.roll(moved, (2, 3)), labels.roll(moved, (1, 2))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m covnode.learn.train_lungs", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file of the weights")
    parser.add_argument("--phantoms", type=int, default=32, help="training phantoms (default %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="batches of 4 slices (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(given.seed)
    network = lungmask_unet(classes=3).to(memory_format=torch.channels_last)
    train(network, given.phantoms, given.steps, given.seed)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), given.out)


if __name__ == "__main__":
    main()
