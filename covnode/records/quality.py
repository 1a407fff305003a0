"""What the quality gate measured of one series, and what it says: kept in the result, stated in the SR.

Made by infer.quality; read by report, interlock, store and CLI. Holds no identity.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Verdict(StrEnum):
    """What a figure, or all of them, mean for the analysis; a series that is not analysed leaves no record."""

    ANALYSED = "analysed"
    WITH_CAUTION = "analysed with caution"


class QualityFigure(BaseModel):
    """One measured figure and the range that needs no caution.

    Attributes
    ----------
    name
        In words, unique within a record.
    value
        None: could not be measured, such as the noise in air where no air is in the images.
    unit
        HU, mm, ml, cm2, %, or empty for a count or a name.
    least, most
        From the settings; None: no limit on that side.
    sentence
        For the report, where the verdict is a caution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | str | None
    unit: str = ""
    least: float | None = None
    most: float | None = None
    verdict: Verdict = Verdict.ANALYSED
    sentence: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name} not measured"
        value = self.value if isinstance(self.value, str) else f"{self.value:.10g}"
        return f"{self.name} {value}{' ' if self.unit else ''}{self.unit}"


Quality = tuple[QualityFigure, ...]


def verdict_of(quality: Quality) -> Verdict:
    """Return the verdict on the series: a caution where any figure has one."""
    cautious = any(figure.verdict is Verdict.WITH_CAUTION for figure in quality)
    return Verdict.WITH_CAUTION if cautious else Verdict.ANALYSED
