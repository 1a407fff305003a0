"""The report of an evaluation as one page of HTML beside its plots. Takes what report.json holds; computes nothing."""

from html import escape
from typing import Any

from covnode.records.result import DEMONSTRATION

_NAMES = {
    "accuracy": "Accuracy",
    "recall": "Recall",
    "precision": "Precision",
    "f1": "F1",
    "roc_auc": "Area under the ROC curve",
    "average_precision": "Average precision",
    "brier_score": "Brier score",
    "expected_calibration_error": "Expected calibration error",
}


def page(report: dict[str, Any], plots: list[str]) -> str:
    """Return the page.

    Parameters
    ----------
    plots
        File names beside the page.
    """
    model, figures = report["model"], report["figures"]
    warning = f"<p><strong>{escape(DEMONSTRATION)}</strong></p>" if model["demonstration"] else ""
    body = _severity(figures) if report["task"] == "severity" else _classification(figures)
    pictures = "".join(f'<img src="{escape(name)}" alt="{escape(name)}">' for name in plots)
    title = f"{escape(model['name'])} {escape(model['version'])}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; margin: 2em; }} td, th {{ padding: .3em 1em; border: 1px solid #ccc; }}
table {{ border-collapse: collapse; }} img {{ max-width: 28em; }}</style></head>
<body><h1>{title}: {escape(report["task"])}</h1>{warning}
<p>{report["volumes"]} volumes of {report["patients"]} patients. Weights {escape(str(model["sha256"]))}. Trained on:
{escape(model["training_data"])}.</p>
{body}{pictures}
</body></html>
"""


def _classification(figures: dict[str, Any]) -> str:
    (tn, fp), (fn, tp) = figures["confusion_matrix"]
    matrix = _table(["", "found negative", "found positive"], [["negative", tn, fp], ["positive", fn, tp]])
    rows = [
        [name, _number(figures[key]["value"]), f"{_number(figures[key]['low'])} to {_number(figures[key]['high'])}"]
        for key, name in _NAMES.items()
    ]
    heading = f"<h2>Confusion matrix at a probability of {figures['threshold']:g}</h2>"
    return heading + matrix + "<h2>Figures</h2>" + _table(["", "value", "95 % interval (bootstrap)"], rows)


def _severity(figures: dict[str, Any]) -> str:
    total = sum(figures["classes_off"].values())
    off = [[name, count, f"{100 * count / total:.1f} %"] for name, count in figures["classes_off"].items()]
    off.append(["within one class", "", f"{figures['within_one_class_percent']:.1f} %"])
    classes = figures["classes"]
    matrix = [[name, *row] for name, row in zip(classes, figures["confusion_matrix"], strict=True)]
    errors = [
        [name.replace("_", " "), _number(figures[name])] for name in ("mean_absolute_error", "median_absolute_error")
    ]
    return (
        "<h2>Severity classes</h2>"
        + _table(["", "volumes", "share"], off)
        + "<h2>True class (row) and found class</h2>"
        + _table(["", *classes], matrix)
        + "<h2>Score, in points</h2>"
        + _table(["", "value"], errors)
    )


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _table(head: list[str], rows: list[list[Any]]) -> str:
    cells = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{lines}</table>"
