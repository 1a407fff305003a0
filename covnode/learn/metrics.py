"""Figures of a classification and of a severity score: truth and answers come in, figures go to evaluation.

numpy only, no I/O. Every interval is a percentile bootstrap over patients (Efron & Tibshirani 1993), from a fixed seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.records.result import SeverityCategory

Truth = NDArray[np.bool_]
Scores = NDArray[np.float64]
Figure = Callable[[Truth, Scores], float]

_REPEATS = 1000
_CLASSES = len(SeverityCategory)


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval; NaN where the data do not define it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Points of a curve: float64 (n,) each, in the order of a falling threshold."""

    x: Scores
    y: Scores


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: mean probability, share that is positive, number of answers."""

    mean_probability: float
    share_positive: float
    count: int


def confusion_matrix(truth: Truth, found: Truth) -> NDArray[np.int64]:
    """Return [[true negatives, false positives], [false negatives, true positives]]: row is the truth."""
    return np.bincount(2 * truth.astype(int) + found.astype(int), minlength=4).reshape(2, 2)


def accuracy(truth: Truth, found: Truth) -> float:
    """Share of right answers."""
    return float(np.mean(truth == found))


def recall(truth: Truth, found: Truth) -> float:
    """TP / (TP + FN)."""
    return _ratio(np.count_nonzero(truth & found), np.count_nonzero(truth))


def precision(truth: Truth, found: Truth) -> float:
    """TP / (TP + FP)."""
    return _ratio(np.count_nonzero(truth & found), np.count_nonzero(found))


def f1(truth: Truth, found: Truth) -> float:
    """2 TP / (2 TP + FP + FN)."""
    return _ratio(2 * np.count_nonzero(truth & found), np.count_nonzero(truth) + np.count_nonzero(found))


def roc_curve(truth: Truth, scores: Scores) -> Curve:
    """Return false positive rate (x) and recall (y); equal scores share one point."""
    positives, negatives = _cumulated(truth, scores)
    return Curve(_from_zero(negatives / max(1, negatives[-1])), _from_zero(positives / max(1, positives[-1])))


def pr_curve(truth: Truth, scores: Scores) -> Curve:
    """Return recall (x) and precision (y); equal scores share one point."""
    positives, negatives = _cumulated(truth, scores)
    return Curve(positives / max(1, positives[-1]), positives / (positives + negatives))


def roc_auc(truth: Truth, scores: Scores) -> float:
    """Area under the ROC curve, by trapezoids; NaN where one class is absent."""
    if truth.all() or not truth.any():
        return float("nan")
    curve = roc_curve(truth, scores)
    return float(np.trapezoid(curve.y, curve.x))


def average_precision(truth: Truth, scores: Scores) -> float:
    """Area under the precision-recall curve, by steps, which does not flatter; NaN where no case is positive."""
    if not truth.any():
        return float("nan")
    curve = pr_curve(truth, scores)
    return float(np.sum(np.diff(curve.x, prepend=0.0) * curve.y))


def reliability(truth: Truth, probabilities: Scores, bins: int = 10) -> tuple[Bin, ...]:
    """Return the filled ones of equally wide bins of the probability."""
    where = np.minimum((probabilities * bins).astype(int), bins - 1)
    chosen = [where == index for index in range(bins)]
    return tuple(
        Bin(float(probabilities[held].mean()), float(truth[held].mean()), int(held.sum()))
        for held in chosen
        if held.any()
    )


def calibration_error(truth: Truth, probabilities: Scores) -> float:
    """Return the expected calibration error (Guo et al. 2017): mean distance of the bins from the diagonal."""
    filled = reliability(truth, probabilities)
    return sum(one.count * abs(one.mean_probability - one.share_positive) for one in filled) / len(truth)


def brier_score(truth: Truth, probabilities: Scores) -> float:
    """Mean squared distance of the probability from the truth (Brier 1950)."""
    return float(np.mean((probabilities - truth) ** 2))


def class_differences(truth: NDArray[np.int64], found: NDArray[np.int64]) -> tuple[int, ...]:
    """Return how many severity classes are exact, one off, two off ... four off; classes are 0..4."""
    counts = np.bincount(np.abs(truth - found), minlength=_CLASSES)
    return tuple(int(count) for count in counts)


def interval(figure: Figure, truth: Truth, scores: Scores, patients: Sequence[str] | None = None) -> Interval:
    """Return a figure of (truth, scores) with its bootstrap interval: 1,000 samples of patients with replacement.

    A patient is drawn with all of their volumes; ``patients`` names each volume's, None: one volume each.
    Samples for which the figure is not defined, of one class say, are left out.
    """
    rng = np.random.default_rng(0)
    numbers = np.arange(len(truth)) if patients is None else np.unique(patients, return_inverse=True)[1]
    volumes = [np.flatnonzero(numbers == number) for number in range(int(numbers.max(initial=-1)) + 1)]
    drawn = (rng.integers(len(volumes), size=len(volumes)) for _ in range(_REPEATS))
    samples = (np.concatenate([volumes[patient] for patient in chosen]) for chosen in drawn)
    values = np.array([figure(truth[rows], scores[rows]) for rows in samples])
    values = values[~np.isnan(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (np.nan, np.nan)
    return Interval(figure(truth, scores), float(low), float(high))


def _cumulated(truth: Truth, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positives and negatives at or above each threshold, thresholds falling."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    positives = np.cumsum(truth[order])[ends]
    return positives, ends + 1 - positives


def _from_zero(values: Scores) -> Scores:
    return np.concatenate([[0.0], values])


def _ratio(part: int | np.signedinteger, whole: int | np.signedinteger) -> float:
    return float(part / whole) if whole else float("nan")
