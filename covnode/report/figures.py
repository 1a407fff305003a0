"""The study-level figures of a result as coded measurements, and which of them an object of a kind may hold.

Comes from the result record; goes to structured_report. The rule that keeps figures of demonstration models out of the
plain SR lives here alone (and once more, independently, in the interlock).
"""

from dataclasses import dataclass

from pydicom.sr.coding import Code

from covnode.records.result import AnalysisResult, ModelIdentity, ObjectKind
from covnode.report import codes

# Volumes in ml, percentages and scores are stated to this many decimals.
DECIMALS = 2
_WITHHOLDABLE_TASKS = ("classification", "severity")


@dataclass(frozen=True)
class Figure:
    """One number of the study; ``task`` is that of the model behind it."""

    concept: Code
    value: float
    unit: Code
    task: str


_Candidate = tuple[Code, float | None, Code, str]


def list_figures(result: AnalysisResult, kind: ObjectKind) -> tuple[Figure, ...]:
    """List the figures that were computed and that an object of this kind may hold, rounded as they are written."""
    return tuple(
        Figure(concept, round(float(value), DECIMALS), unit, task)
        for concept, value, unit, task in _candidates(result, kind)
        if value is not None
    )


def list_missing(result: AnalysisResult, kind: ObjectKind) -> tuple[str, ...]:
    """Name the figures that an object of this kind would hold, had they been computed."""
    return tuple(concept.meaning for concept, value, _, _ in _candidates(result, kind) if value is None)


def withheld_tasks(result: AnalysisResult, kind: ObjectKind) -> frozenset[str]:
    """Name the tasks whose figures an object of this kind must not hold, since a demonstration model made them."""
    if kind is ObjectKind.SR_WITH_DEMONSTRATION:
        return frozenset()
    return frozenset(model.task for model in result.models if model.demonstration and model.task in _WITHHOLDABLE_TASKS)


def model_of(result: AnalysisResult, task: str) -> ModelIdentity | None:
    """Find the model of a task."""
    return next((model for model in result.models if model.task == task), None)


def _candidates(result: AnalysisResult, kind: ObjectKind) -> tuple[_Candidate, ...]:
    affected, glass, dense = result.affected_percent, result.ground_glass_ml, result.consolidation_ml
    probability = None if result.covid_probability is None else result.covid_probability * 100.0
    figures: tuple[_Candidate, ...] = (
        (codes.LUNG_VOLUME_BOTH, result.lung_volume_ml.total, codes.MILLILITRE, "lungs"),
        (codes.GROUND_GLASS_BOTH, glass.total, codes.MILLILITRE, "lesions"),
        (codes.GROUND_GLASS_LEFT, glass.left, codes.MILLILITRE, "lesions"),
        (codes.GROUND_GLASS_RIGHT, glass.right, codes.MILLILITRE, "lesions"),
        (codes.CONSOLIDATION_BOTH, dense.total, codes.MILLILITRE, "lesions"),
        (codes.CONSOLIDATION_LEFT, dense.left, codes.MILLILITRE, "lesions"),
        (codes.CONSOLIDATION_RIGHT, dense.right, codes.MILLILITRE, "lesions"),
        (codes.AFFECTED_BOTH, affected.total, codes.PERCENT, "lesions"),
        (codes.AFFECTED_LEFT, affected.left, codes.PERCENT, "lesions"),
        (codes.AFFECTED_RIGHT, affected.right, codes.PERCENT, "lesions"),
        *_of_zones(result),
        *_low_attenuation(result),
        (codes.COVID_PROBABILITY, probability, codes.PERCENT, "classification"),
        (codes.SEVERITY_SCORE, result.severity_score, codes.SCORE, "severity"),
        (codes.CTSI, result.ctsi, codes.SCORE, "severity"),
    )
    withheld = withheld_tasks(result, kind)
    return tuple(figure for figure in figures if figure[3] not in withheld)


def _of_zones(result: AnalysisResult) -> tuple[_Candidate, ...]:
    zones = result.affected_percent_of_zones
    if zones is None:
        return ()
    figures = (
        (codes.AFFECTED_LEFT_UPPER, zones.left.upper),
        (codes.AFFECTED_LEFT_MIDDLE, zones.left.middle),
        (codes.AFFECTED_LEFT_LOWER, zones.left.lower),
        (codes.AFFECTED_RIGHT_UPPER, zones.right.upper),
        (codes.AFFECTED_RIGHT_MIDDLE, zones.right.middle),
        (codes.AFFECTED_RIGHT_LOWER, zones.right.lower),
    )
    return tuple((concept, value, codes.PERCENT, "lesions") for concept, value in figures)


def _low_attenuation(result: AnalysisResult) -> tuple[_Candidate, ...]:
    low = result.low_attenuation_percent
    if low is None:
        return ()
    figures = (
        (codes.LOW_ATTENUATION_BOTH, low.total),
        (codes.LOW_ATTENUATION_LEFT, low.left),
        (codes.LOW_ATTENUATION_RIGHT, low.right),
    )
    return tuple((concept, value, codes.PERCENT, "lungs") for concept, value in figures)
