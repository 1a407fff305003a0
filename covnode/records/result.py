"""The result of one analysis: the record that every object and page is made from and checked against.

Made by pipeline.analysis, kept as JSON beside the objects; read by report, interlock, CLI. Holds no identity.
"""

from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from covnode.records.quality import Quality

DEMONSTRATION = "demonstration, not for clinical use"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PerSide(_Record):
    """One figure for both lungs and for each; left and right are the patient's. None: not computed."""

    total: float | None
    left: float | None
    right: float | None


class PerZone(_Record):
    """One figure for each third of a lung's height. None: not computed, or no lung there."""

    upper: float | None
    middle: float | None
    lower: float | None


class ZonesPerSide(_Record):
    """One figure for each third of each lung; left and right are the patient's."""

    left: PerZone
    right: PerZone


class ModelIdentity(_Record):
    """A model or method as the manifest and the SR name it.

    Attributes
    ----------
    task
        lungs, lesions, classification or severity.
    sha256
        Digest of the weights; None for a method without weights.
    demonstration
        Trained on synthetic phantoms only.
    """

    name: str
    version: str
    task: str
    sha256: str | None
    training_data: str
    demonstration: bool


class Acquisition(_Record):
    """How the series was acquired, as far as the report states it."""

    manufacturer: str | None = None
    manufacturer_model_name: str | None = None
    convolution_kernel: str | None = None
    slice_thickness_mm: float | None = None
    kvp: float | None = None
    contrast_agent: bool | None = None


class SliceInvolvement(_Record):
    """One slice; index 0 is the most superior. None where the slice holds no lung."""

    index: int
    position_mm: float
    affected_percent: float | None


class SeverityCategory(StrEnum):
    """Severity classes of the score 0..100 in steps of 20."""

    LOW = "Low"
    MILD = "Mild"
    MODERATE = "Moderate"
    SEVERE = "Severe"
    CRITICAL = "Critical"


class AnalysisResult(_Record):
    """All figures of one analysis.

    Attributes
    ----------
    created_at
        When the analysis was first claimed (UTC): the date of every object, so that a repeat writes the same bytes.
    affected_percent
        (ground glass + consolidation) / lung volume in percent, per side.
    affected_percent_of_zones
        The same of each third of each lung's height; None in records of before it was computed.
    low_attenuation_percent
        Share of the lung below -950 HU, as in emphysema; None in records of before it was computed.
    covid_probability
        0..1; None where not computed or the model abstains.
    severity_score
        0..100; None likewise, and then category and ctsi are None too.
    cautions
        Sentences that the report carries, those of the quality gate among them.
    quality
        What the quality gate measured; empty in results from before it.
    configuration
        The settings that shape the figures; with the input, the models and the revision they make the objects' UIDs.
    """

    analysis_id: str
    series_id: str
    revision: int
    created_at: datetime
    input_sha256: str
    acquisition: Acquisition
    lung_volume_ml: PerSide
    ground_glass_ml: PerSide
    consolidation_ml: PerSide
    affected_percent: PerSide
    affected_percent_of_zones: ZonesPerSide | None = None
    low_attenuation_percent: PerSide | None = None
    slices: tuple[SliceInvolvement, ...]
    covid_probability: float | None
    severity_score: float | None
    severity_category: SeverityCategory | None
    ctsi: int | None
    models: tuple[ModelIdentity, ...]
    cautions: tuple[str, ...]
    quality: Quality = ()
    configuration: dict[str, str | int] = Field(default_factory=dict)

    @property
    def demonstration(self) -> bool:
        """Whether any model behind the figures is a demonstration."""
        return any(model.demonstration for model in self.models)


class ObjectKind(StrEnum):
    """What the worker writes: SR holds what was measured, the other SR adds the figures of demonstration models."""

    SEG = "seg"
    SR = "sr"
    SR_WITH_DEMONSTRATION = "sr_with_demonstration"


class ResultObject(_Record):
    """One DICOM object on disk, still under the pseudonymous identity."""

    kind: ObjectKind
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
