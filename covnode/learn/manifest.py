"""A site's training data as a CSV: rows of path, patient and label or score; and their split by patient.

Read by site_training and evaluation. Columns: ``path`` (a folder of DICOM files, or a NIfTI file; relative to the CSV),
``patient`` (any pseudonym: what belongs together), and ``label`` (0 or 1: COVID-19) or ``score`` (0..100).
"""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from covnode.errors import ConfigurationError

Task = Literal["classification", "severity"]

_COLUMN: dict[Task, tuple[str, float]] = {"classification": ("label", 1.0), "severity": ("score", 100.0)}


@dataclass(frozen=True)
class Row:
    """One volume: ``target`` is 0 or 1 for a classification, 0..100 for a severity."""

    path: Path
    patient: str
    target: float


def read_manifest(path: Path, task: Task) -> tuple[Row, ...]:
    """Read the rows of a manifest.

    Raises
    ------
    ConfigurationError
        The file cannot be read, a column is absent, a path does not exist, or a target is out of its range; the message
        names the line.
    """
    column, most = _COLUMN[task]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            absent = {"path", "patient", column} - set(reader.fieldnames or ())
            if absent:
                raise ConfigurationError(f"{path.name} lacks the column {', '.join(sorted(absent))}.")
            rows = tuple(_row(path, number, line, column, most) for number, line in enumerate(reader, start=2))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}.") from None
    if not rows:
        raise ConfigurationError(f"{path.name} holds no row.")
    return rows


def _row(manifest: Path, number: int, line: dict[str, str | None], column: str, most: float) -> Row:
    def refused(why: str) -> ConfigurationError:
        return ConfigurationError(f"{manifest.name}, line {number}: {why}.")

    volume = manifest.parent / (line["path"] or "")
    if not line["path"] or not volume.exists():
        raise refused("there is no such path")
    if not line["patient"]:
        raise refused("the patient is empty")
    try:
        target = float(line[column] or "")
    except ValueError:
        raise refused(f"{column} is no number") from None
    if not 0.0 <= target <= most or (column == "label" and target not in {0.0, 1.0}):
        raise refused(f"{column} must be {'0 or 1' if column == 'label' else '0 to 100'}")
    return Row(volume, line["patient"], target)


def split_by_patient(
    rows: tuple[Row, ...], held_out_percent: int, seed: int
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return rows to train on and rows held out; a patient's rows are all on one side.

    Patients are ordered by a digest of the seed and their pseudonym, so that others hardly move one.

    Raises
    ------
    ConfigurationError
        One side would be empty.
    """
    patients = sorted(
        {row.patient for row in rows},
        key=lambda patient: hashlib.sha256(f"{seed}/{patient}".encode()).hexdigest(),
    )
    held_out = set(patients[: max(1, round(len(patients) * held_out_percent / 100))])
    if len(held_out) == len(patients):
        raise ConfigurationError("The split by patient needs two patients at least.")
    return (
        tuple(row for row in rows if row.patient not in held_out),
        tuple(row for row in rows if row.patient in held_out),
    )
