"""The cards of the demonstration models: what they are, and figures that say they were measured on phantoms.

Made from the predictions on held-out phantoms; goes to bundle_writing.
"""

import numpy as np
from numpy.typing import NDArray

from covnode.learn.fitting import Epoch
from covnode.records.result import DEMONSTRATION


def classifier_card(
    found: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    phantoms: int,
    epochs: tuple[Epoch, ...],
    temperature: float,
) -> str:
    """Card of the classifier; ``found`` and ``truth`` are of the held-out phantoms."""
    counts = [
        ("COVID, found", truth & found),
        ("COVID, missed", truth & ~found),
        ("other, not found", ~truth & ~found),
        ("other, taken for COVID", ~truth & found),
    ]
    rows = "\n".join(f"| {name} | {int(which.sum())} |" for name, which in counts)
    return _card(
        title="covid-classifier-demo",
        answers="The probability, 0 to 1, that the lungs show the pattern that covnode's COVID phantoms have: ground\n"
        "glass in patches near the pleura of both lungs. Normal phantoms and those with one consolidated lobe, an\n"
        "effusion, nodules or emphysema are the other class.",
        training=_training(phantoms, epochs, "binary cross-entropy"),
        measured=f"Calibrated on the held-out phantoms by a temperature of {temperature:.2f}, which the weights hold.\n"
        f"On these {len(truth)}, at a probability of 0.5:\n\n"
        f"| phantoms | number |\n|---|---|\n{rows}",
    )


def severity_card(
    scores: NDArray[np.float32], truth: NDArray[np.float32], phantoms: int, epochs: tuple[Epoch, ...]
) -> str:
    """Card of the severity network; scores and truth are 0..100, of the held-out phantoms."""
    error = np.abs(scores - truth)
    return _card(
        title="severity-demo",
        answers="A score, 0 to 100: the estimated share of both lungs that is affected, in percent. The training\n"
        "target is 100 x affected voxels / lung voxels in the phantom's truth: 0 % is score 0, 100 % is score 100.",
        training=_training(phantoms, epochs, "mean squared error"),
        measured=f"On {len(truth)} held-out phantoms with {truth.min():.0f} to {truth.max():.0f} % affected lung: "
        f"mean absolute error {error.mean():.1f} points, largest {error.max():.1f} points.",
    )


def _training(phantoms: int, epochs: tuple[Epoch, ...], loss: str) -> str:
    best = min(epochs, key=lambda epoch: epoch.validation_loss)
    return (
        f"{phantoms} synthetic phantoms, as many of each preset of `covnode phantom`, with drawn noise, kernel\n"
        "and number of slices; half with their true lungs, half with those that the node's own segmentation finds.\n"
        f"No patient, no public data set. {loss.capitalize()}, Adam, exponential decay of the learning rate,\n"
        f"early stopping: {len(epochs)} epochs, the weights of epoch {best.number}. Made by\n"
        "`covnode train --phantoms`."
    )


def _card(*, title: str, answers: str, training: str, measured: str) -> str:
    return f"""# {title}

**{DEMONSTRATION.capitalize()}.** Trained on synthetic phantoms only.

## What it answers

{answers}

A small 3-D DenseNet on the lungs, cropped to their bounding box and resampled to 64 x 128 x 128.

## Training

{training}

## Measured on phantoms

{measured}

The best epoch was chosen on these same phantoms, so the figures flatter a little. They describe drawings of lungs and
say nothing about accuracy on patients, which was never measured. `make evaluate-phantoms` measures on others.

## Use

To show and test the node from end to end. Replace it by a model with evidence before any answer is looked at.
"""
