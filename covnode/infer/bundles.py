"""Model bundles: a folder in the layout of a MONAI Bundle, checked before anything of it is loaded.

    NAME/configs/metadata.json      what the model is, its input contract, the sha256 of its weights
    NAME/configs/inference.json     its network, by a name of covnode.networks.registry
    NAME/configs/train.json         how it was trained, where that is known
    NAME/models/model.safetensors   its weights
    NAME/docs/README.md             its card

Read by wiring and the CLI; the classifier, the regressor and the networks of slices take a ModelBundle from here. Knows
no torch, runs no expression of a configuration and opens no pickle. See docs/adr/0024 and MONAI's mb_specification.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.imaging.resampling import NETWORK_SHAPE, WINDOW_HU
from covnode.infer.bundle_metadata import InferenceConfig, Metadata, NetworkSection, Task
from covnode.infer.slice_crops import SIDE, SLICE_WINDOW_HU
from covnode.records.result import ModelIdentity

METADATA = Path("configs", "metadata.json")
INFERENCE = Path("configs", "inference.json")
TRAIN = Path("configs", "train.json")
WEIGHTS = Path("models", "model.safetensors")
CARD = Path("docs", "README.md")
OLD_MANIFEST = "manifest.toml"
"""What a bundle of the layout before this one had."""


class _Contract(NamedTuple):
    """What the node gives to a network of one task, and takes from it.

    Attributes
    ----------
    spatial_shape
        Without batch and channel, of which there is one.
    window_hu
        The densities that become 0 and 1.
    channels
        How many the answer may have.
    """

    spatial_shape: tuple[int, ...]
    window_hu: tuple[float, float]
    channels: frozenset[int]


_CONTRACTS: Mapping[Task, _Contract] = {
    "lungs": _Contract((SIDE, SIDE), SLICE_WINDOW_HU, frozenset({3, 6})),
    "classification": _Contract(NETWORK_SHAPE, WINDOW_HU, frozenset({1})),
    "severity": _Contract(NETWORK_SHAPE, WINDOW_HU, frozenset({1})),
}


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose weights were those of its metadata when it was loaded."""

    folder: Path
    metadata: Metadata
    network: NetworkSection

    @property
    def name(self) -> str:
        """The model's name; its folder has it in lower case."""
        return self.metadata.name

    @property
    def task(self) -> Task:
        """The stage that the model serves."""
        return self.metadata.covnode.task

    @property
    def sha256(self) -> str:
        """Digest of the weights."""
        return self.metadata.covnode.sha256

    @property
    def weights_path(self) -> Path:
        """The weights' file."""
        return self.folder / WEIGHTS

    @property
    def card(self) -> str:
        """The text of the card; empty: there is none."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def identity(self) -> ModelIdentity:
        """The model as results name it."""
        return ModelIdentity(
            name=self.name,
            version=self.metadata.version,
            task=self.task,
            sha256=self.sha256,
            training_data=self.metadata.data_source,
            demonstration=self.metadata.covnode.demonstration,
        )

    def read_weights(self) -> bytes:
        """Read the weights and check the very bytes that are handed out.

        Raises
        ------
        WeightsMismatch
            The file is absent or its digest is not that of the metadata.
        """
        try:
            weights = self.weights_path.read_bytes()
        except OSError as error:
            raise WeightsMismatch(f"the weights of {self.name} cannot be read: {WEIGHTS}") from error
        if hashlib.sha256(weights).hexdigest() != self.sha256:
            raise WeightsMismatch(f"the weights of {self.name} differ from the sha256 of their metadata")
        return weights


def load_bundle(folder: Path) -> ModelBundle:
    """Read a bundle's configuration, check its weights and what it says of its input.

    Raises
    ------
    ConfigurationError
        A configuration is absent or invalid, or the node gives no such input.
    WeightsMismatch
        The weights are absent, not those of the metadata, or no safetensors.
    """
    if (folder / OLD_MANIFEST).exists() and not (folder / METADATA).exists():
        raise ConfigurationError(
            f"{folder} has the layout of an older release: run 'covnode models install {folder.name} --from "
            f"{folder / 'weights.pth'}', for weights of your own with --sha256 and the digest in its {OLD_MANIFEST}."
        )
    metadata, inference = _parsed(folder, METADATA, Metadata), _parsed(folder, INFERENCE, InferenceConfig)
    if metadata.name.lower() != folder.name:
        raise ConfigurationError(
            f"the model folder {folder.name} holds {metadata.name}: name it {metadata.name.lower()}"
        )
    bundle = ModelBundle(folder, metadata, inference.network_def)
    _require_contract(bundle)
    bundle.read_weights()
    try:
        safe_open(bundle.weights_path, framework="np")
    except (SafetensorError, OSError) as error:
        raise WeightsMismatch(f"the weights of {bundle.name} are no safetensors: nothing else is opened") from error
    return bundle


_File = TypeVar("_File", bound=BaseModel)


def _parsed(folder: Path, file: Path, form: type[_File]) -> _File:
    try:
        return form.model_validate(json.loads((folder / file).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigurationError(f"no {file} in model folder {folder.name}") from error
    except (ValueError, RecursionError, OSError) as error:
        reason = "; ".join(_lines(error)) if isinstance(error, ValidationError) else "it is no JSON that can be read"
        raise ConfigurationError(f"invalid {file} in model folder {folder.name}: {reason}") from error


def _lines(error: ValidationError) -> list[str]:
    return [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]


def _require_contract(bundle: ModelBundle) -> None:
    formats, contract = bundle.metadata.network_data_format, _CONTRACTS[bundle.task]
    image, window_hu = formats.inputs.image, bundle.metadata.covnode.input.window_hu
    said = (image.num_channels, image.spatial_shape, image.dtype, image.value_range, window_hu)
    if said != (1, contract.spatial_shape, "float32", (0.0, 1.0), contract.window_hu):
        channels, size, dtype, values, hu = said
        shape, window = list(contract.spatial_shape), list(contract.window_hu)
        raise ConfigurationError(
            f"{bundle.name} takes {channels} x {list(size)}, {dtype} {list(values)} of {list(hu)} HU; for "
            f"{bundle.task} the node gives 1 x {shape}, float32 [0, 1] of {window} HU"
        )
    if formats.outputs.pred.num_channels not in contract.channels:
        raise ConfigurationError(
            f"{bundle.name} answers {formats.outputs.pred.num_channels} channels; for {bundle.task} the node takes "
            f"{' or '.join(str(each) for each in sorted(contract.channels))}"
        )
