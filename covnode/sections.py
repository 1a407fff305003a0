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


_MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ModelName = Annotated[str, StringConstraints(to_lower=True, pattern=_MODEL_NAME)]
"""Of a model, as its folder is named: in lower case."""


def is_model_name(text: str) -> bool:
    """Whether a text can be the name of a model, and so of its folder."""
    return re.fullmatch(_MODEL_NAME, text) is not None


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
        default=(), description="models that answer in silence after each analysis, one a task: 'covnode models shadow'"
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
