"""What the interlock expects in the objects, written down a second time and on purpose: nothing here comes from report.

Codes as (value, scheme designator). Read by segmentation, report_tree and figures of the interlock.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from covnode.records.result import AnalysisResult, ObjectKind
from covnode.records.volume import Lesion, Lung

Coded = tuple[str, str]

SOP_CLASSES = {
    ObjectKind.SEG: (str(SegmentationStorage), "SEG"),
    ObjectKind.SR: (str(Comprehensive3DSRStorage), "SR"),
    ObjectKind.SR_WITH_DEMONSTRATION: (str(Comprehensive3DSRStorage), "SR"),
}
REPORTS = (ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION)

TITLE: Coded = ("126000", "DCM")
MEASUREMENT_GROUP: Coded = ("125007", "DCM")
REFERENCED_SEGMENT: Coded = ("121191", "DCM")
SOURCE_SERIES: Coded = ("121232", "DCM")
TRACKING_ID: Coded = ("112039", "DCM")
TRACKING_UID: Coded = ("112040", "DCM")
FINDING_SITE: Coded = ("363698007", "SCT")
LATERALITY: Coded = ("272741003", "SCT")
FRAME_OF_REFERENCE: Coded = ("112227", "DCM")
VOLUME: Coded = ("118565006", "SCT")
SEVERITY: Coded = ("246112005", "SCT")

MILLILITRE: Coded = ("ml", "UCUM")
_PERCENT: Coded = ("%", "UCUM")
_SCORE: Coded = ("{score}", "UCUM")

# Figures are written with two decimals (half a unit of the last one, and the error of a binary fraction).
FIGURE_TOLERANCE = 0.005 + 1e-9
# A volume by the record may differ from the voxels' by rounding of the geometry alone.
VOLUME_TOLERANCE_ML = 0.01
VOLUME_RELATIVE_TOLERANCE = 1e-3

_SCHEME = "99COVNODE"
SEVERITY_CATEGORIES: dict[str, Coded] = {
    "Low": ("CN301", _SCHEME),
    "Mild": ("CN302", _SCHEME),
    "Moderate": ("CN303", _SCHEME),
    "Severe": ("CN304", _SCHEME),
    "Critical": ("CN305", _SCHEME),
}


@dataclass(frozen=True)
class ExpectedSegment:
    """One segment by the modifier of its property type; ``volume_ml`` reads its figure from the record."""

    label: str
    modifier: Coded
    category: Coded
    property_type: Coded
    mask: str
    value: int
    laterality: Coded | None
    volume_ml: Callable[[AnalysisResult], float | None]


_STRUCTURE: Coded = ("91723000", "SCT")
_ABNORMAL: Coded = ("49755003", "SCT")
_LUNG: Coded = ("39607008", "SCT")
_LESION: Coded = ("52988006", "SCT")
LEFT: Coded = ("7771000", "SCT")
RIGHT: Coded = ("24028007", "SCT")

SEGMENTS = (
    ExpectedSegment("Left lung", LEFT, _STRUCTURE, _LUNG, "lungs", Lung.LEFT, LEFT, lambda r: r.lung_volume_ml.left),
    ExpectedSegment(
        "Right lung", RIGHT, _STRUCTURE, _LUNG, "lungs", Lung.RIGHT, RIGHT, lambda r: r.lung_volume_ml.right
    ),
    ExpectedSegment(
        "Ground glass opacity",
        ("112120", "DCM"),
        _ABNORMAL,
        _LESION,
        "lesions",
        Lesion.GROUND_GLASS,
        None,
        lambda r: r.ground_glass_ml.total,
    ),
    ExpectedSegment(
        "Consolidation",
        ("95436008", "SCT"),
        _ABNORMAL,
        _LESION,
        "lesions",
        Lesion.CONSOLIDATION,
        None,
        lambda r: r.consolidation_ml.total,
    ),
)


@dataclass(frozen=True)
class ExpectedFigure:
    """One number of the study; ``task`` is the task of the model that makes it."""

    concept: Coded
    unit: Coded
    task: str
    value: Callable[[AnalysisResult], float | None]


def _probability_percent(result: AnalysisResult) -> float | None:
    return None if result.covid_probability is None else 100.0 * result.covid_probability


def _of_zone(side: str, zone: str) -> Callable[[AnalysisResult], float | None]:
    def value(result: AnalysisResult) -> float | None:
        zones = result.affected_percent_of_zones
        found: float | None = None if zones is None else getattr(getattr(zones, side), zone)
        return found

    return value


def _low_attenuation(side: str) -> Callable[[AnalysisResult], float | None]:
    def value(result: AnalysisResult) -> float | None:
        found: float | None = getattr(result.low_attenuation_percent, side, None)
        return found

    return value


FIGURES = (
    ExpectedFigure(("CN110", _SCHEME), MILLILITRE, "lungs", lambda r: r.lung_volume_ml.total),
    ExpectedFigure(("CN120", _SCHEME), MILLILITRE, "lesions", lambda r: r.ground_glass_ml.total),
    ExpectedFigure(("CN121", _SCHEME), MILLILITRE, "lesions", lambda r: r.ground_glass_ml.left),
    ExpectedFigure(("CN122", _SCHEME), MILLILITRE, "lesions", lambda r: r.ground_glass_ml.right),
    ExpectedFigure(("CN130", _SCHEME), MILLILITRE, "lesions", lambda r: r.consolidation_ml.total),
    ExpectedFigure(("CN131", _SCHEME), MILLILITRE, "lesions", lambda r: r.consolidation_ml.left),
    ExpectedFigure(("CN132", _SCHEME), MILLILITRE, "lesions", lambda r: r.consolidation_ml.right),
    ExpectedFigure(("CN140", _SCHEME), _PERCENT, "lesions", lambda r: r.affected_percent.total),
    ExpectedFigure(("CN141", _SCHEME), _PERCENT, "lesions", lambda r: r.affected_percent.left),
    ExpectedFigure(("CN142", _SCHEME), _PERCENT, "lesions", lambda r: r.affected_percent.right),
    ExpectedFigure(("CN143", _SCHEME), _PERCENT, "lesions", _of_zone("left", "upper")),
    ExpectedFigure(("CN144", _SCHEME), _PERCENT, "lesions", _of_zone("left", "middle")),
    ExpectedFigure(("CN145", _SCHEME), _PERCENT, "lesions", _of_zone("left", "lower")),
    ExpectedFigure(("CN146", _SCHEME), _PERCENT, "lesions", _of_zone("right", "upper")),
    ExpectedFigure(("CN147", _SCHEME), _PERCENT, "lesions", _of_zone("right", "middle")),
    ExpectedFigure(("CN148", _SCHEME), _PERCENT, "lesions", _of_zone("right", "lower")),
    ExpectedFigure(("CN150", _SCHEME), _PERCENT, "lungs", _low_attenuation("total")),
    ExpectedFigure(("CN151", _SCHEME), _PERCENT, "lungs", _low_attenuation("left")),
    ExpectedFigure(("CN152", _SCHEME), _PERCENT, "lungs", _low_attenuation("right")),
    ExpectedFigure(("CN201", _SCHEME), _PERCENT, "classification", _probability_percent),
    ExpectedFigure(("CN202", _SCHEME), _SCORE, "severity", lambda r: r.severity_score),
    ExpectedFigure(("CN203", _SCHEME), _SCORE, "severity", lambda r: r.ctsi),
)
