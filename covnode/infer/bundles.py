"""Model bundles: a folder with manifest.toml, card.md and weights, checked before anything is loaded.

Read by wiring and the CLI; the classifier, the regressor and R231 take a ModelBundle from here. Knows no torch.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.records.result import ModelIdentity

MANIFEST = "manifest.toml"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkSection(_Section):
    """Which network of covnode.networks, and how it is built."""

    name: str
    arguments: dict[str, int | float | str | tuple[int, ...]] = {}


class InputSection(_Section):
    """What the network takes.

    Attributes
    ----------
    shape_kji
        None: any.
    spacing
        How the shape relates to millimetres.
    window_hu
        Densities that become 0 and 1; None where the network scales by itself.
    """

    shape_kji: tuple[int, int, int] | None = None
    spacing: str
    window_hu: tuple[float, float] | None = None
    region: str


class OutputSection(_Section):
    """What the network answers."""

    meaning: str
    minimum: float | None = None
    maximum: float | None = None


class Manifest(_Section):
    """What is known about one model.

    Attributes
    ----------
    weights
        File name within the bundle's folder.
    sha256
        Digest of the weights, 64 hex digits.
    demonstration
        Trained on synthetic phantoms only: not for clinical use.
    """

    name: str
    version: str
    task: Literal["lungs", "lesions", "classification", "severity"]
    weights: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    network: NetworkSection
    input: InputSection
    output: OutputSection
    training_data: str
    licence: str
    intended_use: str
    demonstration: bool

    @field_validator("weights")
    @classmethod
    def _bare_name(cls, weights: str) -> str:
        if PurePath(weights).name != weights or weights in {"", ".", ".."}:
            raise ValueError("weights must be a file name within the bundle's folder")
        return weights


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose weights were those of its manifest when it was loaded."""

    folder: Path
    manifest: Manifest

    @property
    def weights_path(self) -> Path:
        """The weights' file."""
        return self.folder / self.manifest.weights

    @property
    def identity(self) -> ModelIdentity:
        """The model as results name it."""
        manifest = self.manifest
        return ModelIdentity(
            name=manifest.name,
            version=manifest.version,
            task=manifest.task,
            sha256=manifest.sha256,
            training_data=manifest.training_data,
            demonstration=manifest.demonstration,
        )

    def read_weights(self) -> bytes:
        """Read the weights and check the very bytes that are handed out.

        Raises
        ------
        WeightsMismatch
            The file is absent or its digest is not the manifest's.
        """
        name = self.manifest.name
        try:
            weights = self.weights_path.read_bytes()
        except OSError as error:
            raise WeightsMismatch(f"the weights of {name} cannot be read: {self.manifest.weights}") from error
        if hashlib.sha256(weights).hexdigest() != self.manifest.sha256:
            raise WeightsMismatch(f"the weights of {name} differ from the sha256 of their manifest")
        return weights


def load_bundle(folder: Path) -> ModelBundle:
    """Read a bundle's manifest and check its weights.

    Raises
    ------
    ConfigurationError
        The manifest is absent or invalid.
    WeightsMismatch
        The weights are absent or not those of the manifest.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigurationError(f"no {MANIFEST} in model folder {folder.name}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise ConfigurationError(f"invalid {MANIFEST} in model folder {folder.name}: {error}") from error
    bundle = ModelBundle(folder, manifest)
    bundle.read_weights()
    return bundle


def verify_bundle(folder: Path) -> None:
    """Check a bundle: load_bundle with its errors, for a caller that needs only the verdict."""
    load_bundle(folder)
