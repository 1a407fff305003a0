"""A bundle measured on a manifest's volumes: report.json, report.html and plots in a folder.

Called by ``covnode evaluate``; bundle and manifest -> answers -> figures (metrics) -> report. The tables are those of
the published source system, so that figures can be laid side by side.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covnode.errors import ConfigurationError
from covnode.infer.bundles import load_bundle
from covnode.infer.classification import Classifier
from covnode.infer.device import choose_device
from covnode.infer.severity import SeverityRegressor, severity_category
from covnode.learn import metrics
from covnode.learn.evaluation_page import page
from covnode.learn.manifest import Row, read_manifest
from covnode.learn.plots import Line, plot_bars, plot_lines
from covnode.learn.site_data import load_inputs
from covnode.records.result import SeverityCategory

REPORT_JSON, REPORT_HTML = "report.json", "report.html"
THRESHOLD = 0.5
_CLASSES = tuple(SeverityCategory)
_OFF = ("exact", "one class off", "two classes off", "three classes off", "four classes off")


def evaluate(
    bundle_folder: Path, data: Path, out: Path, device_name: str, told: Callable[[int], None]
) -> dict[str, Any]:
    """Measure a bundle; return what report.json holds.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        The bundle, the manifest or a volume cannot be used.
    """
    bundle = load_bundle(bundle_folder)
    if bundle.identity.task not in {"classification", "severity"}:
        raise ConfigurationError(f"{bundle.name} is a model for {bundle.identity.task}: it has no label to be held to.")
    task: Literal["classification", "severity"] = "severity" if bundle.identity.task == "severity" else "classification"
    device = choose_device(device_name)
    model = SeverityRegressor(bundle, device) if task == "severity" else Classifier(bundle, device)
    rows = read_manifest(data, task)
    out.mkdir(parents=True, exist_ok=True)
    inputs = load_inputs(rows, out / "cache", told)
    answers = np.array([model(one.astype(np.float32)) for one in inputs])
    truth = np.array([row.target for row in rows])
    patients = [row.patient for row in rows]
    figures = (
        _severity(truth, answers, out) if task == "severity" else _classification(truth > 0.5, answers, patients, out)
    )
    report = {
        "model": bundle.identity.model_dump(),
        "task": task,
        "volumes": len(rows),
        "patients": len(set(patients)),
        "figures": figures,
        "answers": [_answer(row, float(answer)) for row, answer in zip(rows, answers, strict=True)],
    }
    (out / REPORT_JSON).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / REPORT_HTML).write_text(page(report, sorted(path.name for path in out.glob("*.png"))), encoding="utf-8")
    return report


def _answer(row: Row, answer: float) -> dict[str, Any]:
    return {"path": row.path.name, "patient": row.patient, "truth": row.target, "answer": answer}


def _classification(
    truth: NDArray[np.bool_], answers: NDArray[np.float64], patients: list[str], out: Path
) -> dict[str, Any]:
    def told(figure: metrics.Figure) -> dict[str, float | None]:
        return _interval(metrics.interval(figure, truth, answers, patients))

    at_threshold = {
        name: told(_at_threshold(figure))
        for name, figure in (
            ("accuracy", metrics.accuracy),
            ("recall", metrics.recall),
            ("precision", metrics.precision),
            ("f1", metrics.f1),
        )
    }
    matrix = metrics.confusion_matrix(truth, answers >= THRESHOLD)
    roc, recall_precision = metrics.roc_curve(truth, answers), metrics.pr_curve(truth, answers)
    bins = metrics.reliability(truth, answers)
    diagonal = Line("chance", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    plot_lines(out / "roc.png", "ROC", ("false positive rate", "recall"), (Line("model", roc.x, roc.y), diagonal))
    curve = Line("model", recall_precision.x, recall_precision.y)
    plot_lines(out / "precision_recall.png", "Precision and recall", ("recall", "precision"), (curve,))
    found = Line("model", np.array([b.mean_probability for b in bins]), np.array([b.share_positive for b in bins]))
    labels = ("probability", "share of positives")
    plot_lines(out / "calibration.png", "Calibration", labels, (found, Line("ideal", diagonal.x, diagonal.y)))
    names = ("true negative", "false positive", "false negative", "true positive")
    plot_bars(out / "confusion.png", "Confusion matrix", names, matrix.ravel())
    return {
        "threshold": THRESHOLD,
        "confusion_matrix": matrix.tolist(),
        **at_threshold,
        "roc_auc": told(metrics.roc_auc),
        "average_precision": told(metrics.average_precision),
        "brier_score": told(metrics.brier_score),
        "expected_calibration_error": told(metrics.calibration_error),
        "reliability": [vars(one) for one in bins],
    }


def _at_threshold(figure: Callable[[metrics.Truth, metrics.Truth], float]) -> metrics.Figure:
    return lambda truth, answers: figure(truth, answers >= THRESHOLD)


def _severity(truth: NDArray[np.float64], answers: NDArray[np.float64], out: Path) -> dict[str, Any]:
    true, found = (
        np.array([_CLASSES.index(severity_category(float(value))) for value in values]) for values in (truth, answers)
    )
    counts = metrics.class_differences(true, found)
    table = np.bincount(5 * true + found, minlength=25).reshape(5, 5)
    plot_bars(out / "classes_off.png", "Severity classes off", _OFF, np.array(counts))
    order = np.argsort(truth)
    ideal = Line("ideal", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    drawn = Line("model", truth[order] / 100.0, answers[order] / 100.0)
    plot_lines(out / "scores.png", "Score (1: all lung affected)", ("truth", "answer"), (drawn, ideal))
    return {
        "classes": [str(name) for name in _CLASSES],
        "confusion_matrix": table.tolist(),
        "classes_off": dict(zip(_OFF, counts, strict=True)),
        "exact_percent": 100.0 * counts[0] / len(true),
        "within_one_class_percent": 100.0 * (counts[0] + counts[1]) / len(true),
        "mean_absolute_error": float(np.mean(np.abs(truth - answers))),
        "median_absolute_error": float(np.median(np.abs(truth - answers))),
    }


def _interval(figure: metrics.Interval) -> dict[str, float | None]:
    """JSON knows no NaN: what the data do not define is null."""
    return {name: None if np.isnan(value) else value for name, value in vars(figure).items()}
