"""What the configurations of a model bundle hold: MONAI's keys, and what this node needs beside them.

Read and checked by bundles, written by covnode.learn.bundle_writing. See MONAI's mb_specification.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["lungs", "classification", "severity"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _MonaiSection(BaseModel):
    """A part that MONAI specifies: what others put there beside is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class TensorFormat(_MonaiSection):
    """MONAI's format specifier of one tensor, the mandatory keys; shapes without batch and channel."""

    type: str
    format: str
    modality: str = "n/a"
    num_channels: int
    spatial_shape: tuple[int | str, ...]
    dtype: str
    value_range: tuple[float, ...]
    is_patch_data: bool
    channel_def: dict[str, str]


class InputFormats(_MonaiSection):
    """The one input of a network."""

    image: TensorFormat


class OutputFormats(_MonaiSection):
    """The one output of a network, as it comes out of it."""

    pred: TensorFormat


class NetworkDataFormat(_MonaiSection):
    """What goes in and what comes out."""

    inputs: InputFormats
    outputs: OutputFormats


class InputSection(_Section):
    """What the node does before the network, beside what MONAI's format specifier says.

    Attributes
    ----------
    spacing
        How the shape relates to millimetres.
    window_hu
        Densities that become 0 and 1.
    region
        What of the volume is in the input.
    """

    spacing: str
    window_hu: tuple[float, float]
    region: str


class OutputSection(_Section):
    """What the answer means that the node makes of the output."""

    meaning: str
    minimum: float | None = None
    maximum: float | None = None


class CovnodeSection(_Section):
    """What this node needs to know beside what MONAI specifies.

    Attributes
    ----------
    task
        The stage that the model serves.
    sha256
        Digest of the weights, 64 hex digits.
    source_sha256
        Digest of the published file that the weights were converted from.
    demonstration
        Trained on synthetic phantoms only: not for clinical use.
    """

    task: Task
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    source_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    licence: str = Field(min_length=1)
    demonstration: bool
    input: InputSection
    output: OutputSection


class Metadata(_MonaiSection):
    """The file metadata.json: the keys that MONAI's specification demands, and a section of this node's.

    Attributes
    ----------
    task
        In words, as MONAI has it; covnode.task is for the node.
    data_source
        What it was trained on.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(min_length=1)
    monai_version: str
    pytorch_version: str
    numpy_version: str
    required_packages_version: dict[str, str]
    task: str
    description: str
    authors: str
    copyright: str
    intended_use: str = Field(min_length=1)
    data_source: str = Field(min_length=1)
    network_data_format: NetworkDataFormat
    covnode: CovnodeSection


class NetworkSection(_Section):
    """Which network of covnode.networks, and how it is built; in MONAI's syntax, of which this alone is understood."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    target: Literal["covnode.networks.registry.build_network"] = Field(alias="_target_")
    name: str
    arguments: dict[str, bool | int | float | str | tuple[int, ...]] = {}


class InferenceConfig(_Section):
    """The file inference.json."""

    network_def: NetworkSection
