"""The shipped demonstration models behind the node's own segmentation, on fresh phantoms.

    make evaluate-phantoms

Phantoms of 256 x 256 with up to 64 slices, seeds that no training uses, every preset
in turn -> lungs, lesions, classification, severity as the node computes them -> figures with
goals. Exits 1 when a goal is missed. The figures are of drawings: none says anything about accuracy on patients.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from covnode.imaging.resampling import network_input
from covnode.infer.bundles import load_bundle
from covnode.infer.classification import Classifier
from covnode.infer.device import choose_device
from covnode.infer.lesions import find_lesions
from covnode.infer.lungs import segment_lungs
from covnode.infer.severity import SeverityRegressor, severity_category
from covnode.learn.demonstration_data import (
    COVID_PRESETS,
    PRESETS,
    affected_percent,
    phantom_volume,
    training_protocol,
)
from covnode.learn.metrics import class_differences, interval, roc_auc
from covnode.learn.phantom import PhantomPreset, Protocol, make_phantom
from covnode.records.result import SeverityCategory

MODELS = Path(__file__).parents[1] / "models"
SIZE, MOST_SLICES = 256, 64
# Training and its held-out phantoms have seeds from 900,000 on.
SEEDS_FROM, UNSEEN_SEEDS_FROM = 100_000, 200_000
CLASSES = tuple(SeverityCategory)


@dataclass(frozen=True)
class Task:
    """One phantom to make: unseen is one scanned as no phantom of the training is."""

    preset: PhantomPreset
    seed: int
    unseen: bool


@dataclass(frozen=True)
class Answer:
    """What the node says of one phantom, and what is true: percent 0..100, probability 0..1, Dice of the lungs."""

    task: Task
    true_percent: float
    found_percent: float
    probability: float
    score: float
    lung_dice: float

    @property
    def is_covid(self) -> bool:
        """Whether the phantom shows the pattern that the classifier is asked for."""
        return self.task.preset in COVID_PRESETS


def unseen_protocol(rng: np.random.Generator) -> tuple[int, Protocol]:
    """Draw slices and protocol outside the range of the training's: noise, kernel and thickness are all other ones."""
    sharpness = rng.uniform(0.55, 0.75) if rng.random() < 0.5 else rng.uniform(1.4, 1.8)
    noise = rng.uniform(1.8, 2.6) * max(1.0, sharpness)
    return int(rng.integers(24, 33)), Protocol(noise=noise, sharpness=sharpness, averaged=3)


@lru_cache(maxsize=1)
def models() -> tuple[Classifier, SeverityRegressor]:
    """Load both models, once a process."""
    device = choose_device("cpu")
    return (
        Classifier(load_bundle(MODELS / "covid-classifier-demo"), device),
        SeverityRegressor(load_bundle(MODELS / "severity-demo"), device),
    )


def answer(task: Task) -> Answer:
    """Make one phantom and have the node's stages look at it."""
    rng = np.random.default_rng([task.seed, 1])
    slices, protocol = unseen_protocol(rng) if task.unseen else training_protocol(rng)
    slices = min(slices, MOST_SLICES)
    phantom = make_phantom(task.preset, seed=task.seed, slices=slices, size=SIZE, protocol=protocol)
    volume = phantom_volume(phantom)
    lungs = segment_lungs(volume)
    lesions = find_lesions(volume, lungs)
    network = network_input(volume, lungs)
    classifier, severity = models()
    found, true = lungs.labels > 0, phantom.lung_labels > 0
    return Answer(
        task=task,
        true_percent=affected_percent(phantom),
        found_percent=100.0 * np.count_nonzero(lesions.labels) / np.count_nonzero(found),
        probability=classifier(network),
        score=severity(network),
        lung_dice=2.0 * np.count_nonzero(found & true) / (np.count_nonzero(found) + np.count_nonzero(true)),
    )


def tasks(count: int, first_seed: int, *, unseen: bool) -> Iterator[Task]:
    """Yield the presets in turn."""
    for number in range(count):
        yield Task(PRESETS[number % len(PRESETS)], first_seed + number, unseen)


def by_preset(answers: list[Answer]) -> None:
    """Print one line a preset."""
    print(f"{'preset':15} {'n':>3} {'Dice':>6} {'percent, |error|':>18} {'probability':>19} {'score, |error|':>15}")
    for preset in PRESETS:
        chosen = [one for one in answers if one.task.preset is preset]
        if not chosen:
            continue
        error = np.median([abs(one.found_percent - one.true_percent) for one in chosen])
        score = np.median([abs(one.score - one.true_percent) for one in chosen])
        low, middle, high = np.percentile([one.probability for one in chosen], [0, 50, 100])
        dice = np.median([one.lung_dice for one in chosen])
        print(
            f"{preset:15} {len(chosen):3} {dice:6.3f} {error:18.2f} {middle:7.3f} ({low:.2f}-{high:.2f}) {score:14.2f}"
        )


def classes(answers: list[Answer]) -> tuple[float, float]:
    """Print the severity classes against the truth; return the shares, in percent, exact and within one class."""
    pairs = [[CLASSES.index(severity_category(value)) for value in (one.true_percent, one.score)] for one in answers]
    truth, found = np.array(pairs).T
    exact, one_off, *further = class_differences(truth, found)
    print(f"severity classes of {len(truth)} COVID phantoms: {exact} exact, {one_off} one off, then {further}")
    return 100.0 * exact / len(truth), 100.0 * (exact + one_off) / len(truth)


def auc(name: str, answers: list[Answer]) -> float:
    """Print the area under the ROC curve with its interval."""
    truth, scores = (np.array([getattr(one, key) for one in answers]) for key in ("is_covid", "probability"))
    area = interval(roc_auc, truth, scores.astype(np.float64))
    wrong = np.count_nonzero((scores > 0.5) != truth)
    print(f"AUC {name}: {area.value:.4f} ({area.low:.4f} to {area.high:.4f}), {wrong} of {len(truth)} wrong at 0.5")
    return area.value


def main() -> None:
    """Parse the command line, make the phantoms, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantoms", type=int, default=216, help="scanned as the training's (default %(default)s)")
    parser.add_argument("--unseen", type=int, default=54, help="scanned unlike any of them (default %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one a core")
    given = parser.parse_args()
    start = time.monotonic()
    asked = [
        *tasks(given.phantoms, SEEDS_FROM, unseen=False),
        *tasks(given.unseen, UNSEEN_SEEDS_FROM, unseen=True),
    ]
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(answer, asked))
    seen, unseen = ([one for one in answers if one.task.unseen == which] for which in (False, True))
    for name, group in (
        ("phantoms scanned as those of the training", seen),
        ("unseen noise, kernel, thickness", unseen),
    ):
        print(f"\n{name}: {len(group)}")
        by_preset(group)
    print("\nMeasured on synthetic phantoms: says nothing about accuracy on patients.")
    affected = [one for one in seen if one.true_percent > 0]
    error = float(np.median([abs(one.found_percent - one.true_percent) for one in affected]))
    exact, within_one = classes([one for one in seen if one.is_covid])
    areas = auc("as trained", seen), auc("unseen", unseen)
    minutes = (time.monotonic() - start) / 60
    figures = (
        ("lesion_percent_median_absolute_error", error, "points", "<=", 2.0),
        ("classification_auc", areas[0], "", ">=", 0.97),
        ("severity_within_one_class", within_one, "%", ">=", 90.0),
        ("severity_exact_class", exact, "%", ">=", 57.5),
        ("classification_auc_unseen_protocol", areas[1], "", ">=", 0.90),
        ("evaluation_time", minutes, "min", "<=", 25.0),
    )
    for name, value, unit, sign, goal in figures:
        print(f"{name}: {value:.4g} {unit} (goal {sign} {goal:g})".replace("  ", " "))
    sys.exit(not all(value <= goal if sign == "<=" else value >= goal for _, value, _, sign, goal in figures))


if __name__ == "__main__":
    main()
