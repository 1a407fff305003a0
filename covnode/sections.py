"""What every section of the configuration is, and the sections that are more than a list of keys.

Comes from settings, which hold all sections; goes to wiring. Never reads a file.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator


class Section(BaseModel):
    """A section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FilesSettings(Section):
    """Where images, copies and results lie."""

    folder: str = Field(
        default="",
        description="folder of received images, copies and results; all hosts of one database name the same one, on a "
        "file system that they share; empty: the home folder",
    )


class ObjectsSettings(Section):
    """An S3-compatible store that hands copies and results from host to host, where no file system is shared."""

    url: str = Field(
        default="",
        pattern=r"^(s3://[^/?#@\s]+(/[^?#\s]*)?)?$",
        description="s3://BUCKET/PREFIX, the same for all hosts of one database, each of which then has its own "
        "files.folder; needs covnode[s3]; empty: hosts share files.folder",
    )
    endpoint_url: str = Field(
        default="",
        pattern=r"^(https?://[^/?#@\s]+/?)?$",
        description="address of the store (https://store.example:9000); empty: Amazon's of the region",
    )
    region: str = Field(default="us-east-1", min_length=1, description="region that requests are signed for")
    tls: bool = Field(default=True, description="an endpoint_url without HTTPS is refused")
    ca: str = Field(default="", description="file of CAs that are trusted beside the system's (PEM)")
    credentials_file: str = Field(
        default="",
        description="file with aws_access_key_id and aws_secret_access_key under [default], as AWS's tools have it; "
        "empty: from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine",
    )

    @model_validator(mode="after")
    def _refuse_clear_text(self) -> "ObjectsSettings":
        if self.tls and self.endpoint_url.startswith("http:"):
            raise ValueError("endpoint_url is not HTTPS: name one that is, or set objects.tls = false")
        return self


DeidentifyOption = Literal[
    "clean_structured_content",
    "clean_descriptors",
    "retain_patient_characteristics",
    "retain_device_identity",
    "retain_uids",
    "retain_institution_identity",
]
Dates = Literal["modified", "full", "removed"]
_NO_OPTIONS = {
    "clean_graphics": "overlays, curves and annotations are always removed: what they draw may be letters",
    "clean_recognizable_visual_features": "it would change the pixels that are to be analysed",
    "retain_safe_private": "name the list of what is safe instead (safe_private, --safe-private)",
    "full_dates": "choose it by dates (--dates full)",
    "modified_dates": "choose it by dates (--dates modified)",
}


class DeidentifySettings(Section):
    """The options of PS3.15 Annex E: of the node's copies, and of `covnode deidentify` unless it is told others."""

    options: tuple[DeidentifyOption, ...] = Field(
        default=(),
        description="options beside the Basic Profile; the node's own copies take clean_structured_content, "
        "clean_descriptors and retain_patient_characteristics alone (docs/adr/0012)",
    )
    dates: Dates = Field(
        default="modified", description="modified: moved, intervals stay; full: as sent; removed; the node's: modified"
    )
    safe_private: str = Field(
        default="",
        description="file of private attributes that stay (CSV: creator, tag as 0019,xx23, vr); the node's: none",
    )

    burned_in_text: Literal["quarantine", "mask"] = Field(
        default="quarantine",
        description="text found in the pixels: quarantine: the series is held back; mask: it is overwritten",
    )

    @field_validator("options", mode="before")
    @classmethod
    def _explain(cls, value: object) -> object:
        for name in value if isinstance(value, (list, tuple)) else ():
            if name in _NO_OPTIONS:
                raise ValueError(f"{name} is not offered: {_NO_OPTIONS[name]}")
        return value


AUTO, DENSITY = "auto", "density"
"""What ``lungs`` may be beside a model's name."""

_MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ModelName = Annotated[str, StringConstraints(to_lower=True, pattern=_MODEL_NAME)]
"""Of a model, as its folder is named: in lower case."""


def is_model_name(text: str) -> bool:
    """Whether a text can be the name of a model, and so of its folder."""
    return re.fullmatch(_MODEL_NAME, text) is not None and text not in {AUTO, DENSITY}


class WorkerSettings(Section):
    """The analysis."""

    devices: tuple[Annotated[str, StringConstraints(pattern=r"^(cpu|cuda:\d+)$")], ...] = Field(
        default=(), description="a worker each: cuda:N or cpu; empty: one for every CUDA device, without any one on cpu"
    )
    min_slices: int = Field(default=10, ge=3, description="a series with fewer slices is not analysed")
    lungs: ModelName = Field(
        default="auto",
        description="lung segmenter: density, by rules; a model's name (r231, r231covidweb, ltrclobes); auto: r231 "
        "when it is installed, else density",
    )
    classification: ModelName = Field(default="covid-classifier-demo", description="model of the probability, by name")
    severity: ModelName = Field(default="severity-demo", description="model of the severity, by name")
    shadows: tuple[ModelName, ...] = Field(
        default=(),
        description="models that answer in silence after each analysis, one a task, set by 'covnode models shadow'",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="float32",
        description="of R231 on a CPU: float32 answers as lungmask does, bfloat16 moves some of the lungs' border "
        "and is several times as fast; auto: bfloat16 where the CPU has it",
    )
    timeout_s: float = Field(default=1800.0, gt=0, description="an analysis that takes longer is stopped")
    threads: int = Field(default=0, ge=0, description="CPU threads of an analysis; 0: the cores, shared by all workers")
    min_free_gb: float = Field(default=1.0, ge=0, description="with less room on the results' disk analyses wait")

    @field_validator("devices", "shadows", mode="before")
    @classmethod
    def _in_words(cls, names: object) -> object:
        # From the environment, which knows no lists: names with commas between them.
        return names.replace(",", " ").split() if isinstance(names, str) else names

    @field_validator("devices")
    @classmethod
    def _once_each(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(devices)) != len(devices):
            raise ValueError("a device has one worker: name each once")
        return devices


_RISING = (
    ("caution_air_noise_hu", "max_air_noise_hu"),
    ("caution_tissue_noise_hu", "max_tissue_noise_hu"),
    ("caution_lung_at_edge_cm2", "max_lung_at_edge_cm2"),
    ("caution_lung_at_end_percent", "max_lung_at_end_percent"),
    ("min_lungs_ml", "caution_min_lungs_ml", "caution_max_lungs_ml", "max_lungs_ml"),
    ("min_lung_mean_hu", "caution_min_lung_mean_hu", "caution_max_lung_mean_hu", "max_lung_mean_hu"),
)


class QualitySettings(Section):
    """The quality gate: beyond a ``caution_`` limit the report says so, beyond the other a series is not analysed."""

    caution_air_noise_hu: float = Field(
        default=40.0, gt=0, description="noise in air (standard deviation) that deserves a caution"
    )
    max_air_noise_hu: float = Field(default=60.0, gt=0, description="with more noise in air nothing is analysed")
    caution_tissue_noise_hu: float = Field(
        default=60.0, gt=0, description="noise in soft tissue (standard deviation) that deserves a caution"
    )
    max_tissue_noise_hu: float = Field(
        default=100.0, gt=0, description="with more noise in soft tissue nothing is analysed"
    )
    max_black_slices: int = Field(default=0, ge=0, description="with more slices without a patient nothing is analysed")
    max_truncated_slices: int = Field(
        default=0, ge=0, description="with more slices that lost a part of the patient nothing is analysed"
    )
    max_copied_percent: float = Field(
        default=5.0, ge=0, description="with a larger share of slices that copy another one nothing is analysed"
    )
    caution_thickness_mm: float = Field(
        default=5.0, gt=0, description="thickness or distance of slices above which the report has a caution"
    )
    caution_kernels: tuple[str, ...] = Field(
        default=(), description="kernels by name (B8*: all that begin so) for which the report has a caution"
    )
    caution_lung_at_end_percent: float = Field(
        default=10.0,
        ge=0,
        description="lung in the first or last slice, as a share of the slice with most of it, that deserves a "
        "caution: apex or base may be missing",
    )
    max_lung_at_end_percent: float = Field(default=60.0, gt=0, description="with more of it nothing is analysed")
    caution_lung_at_edge_cm2: float = Field(
        default=5.0, ge=0, description="lung that the field of view cuts, as area of the cut, that deserves a caution"
    )
    max_lung_at_edge_cm2: float = Field(default=50.0, ge=0, description="with more of it nothing is analysed")
    min_lungs_ml: float = Field(
        default=500.0, gt=0, description="with a smaller volume of both lungs nothing is analysed: not a chest"
    )
    caution_min_lungs_ml: float = Field(default=1500.0, gt=0, description="below this volume the report has a caution")
    caution_max_lungs_ml: float = Field(default=9000.0, gt=0, description="above this volume the report has a caution")
    max_lungs_ml: float = Field(default=12000.0, gt=0, description="with a larger volume nothing is analysed")
    caution_smaller_lung_percent: float = Field(
        default=10.0, ge=0, le=50, description="share of the smaller lung below which the report has a caution"
    )
    min_lung_mean_hu: float = Field(default=-960.0, description="with darker lungs (mean) nothing is analysed")
    caution_min_lung_mean_hu: float = Field(default=-920.0, description="below this mean the report has a caution")
    caution_max_lung_mean_hu: float = Field(default=-500.0, description="above this mean the report has a caution")
    max_lung_mean_hu: float = Field(default=-250.0, description="with denser lungs (mean) nothing is analysed")
    caution_blood_hu: float = Field(
        default=300.0, gt=0, description="enhancement of the blood by contrast above which the report has a caution"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "QualitySettings":
        for names in _RISING:
            values = [getattr(self, name) for name in names]
            if values != sorted(values):
                raise ValueError(f"{' <= '.join(names)} must hold")
        return self


class RetentionSettings(Section):
    """How long files are kept. Never removed: what is open, failed, blocked, in quarantine or not delivered."""

    delivered_days: float = Field(
        default=0.0,
        ge=0,
        description="files of a series (received, de-identified, results, outbox) are removed this long after all its "
        "deliveries; 0: never",
    )
    without_result_days: float = Field(
        default=0.0,
        ge=0,
        description="the same after a series ended without a result: not chosen, superseded, not to be analysed; "
        "0: never",
    )
