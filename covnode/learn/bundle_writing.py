"""A network as a bundle in the layout of a MONAI Bundle: configurations, weights with their sha256, card.

Called by the training and by the installation of models; what it writes, covnode.infer.bundles reads.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from covnode.infer.bundles import CARD, INFERENCE, METADATA, TRAIN, WEIGHTS, ModelBundle, load_bundle

_TASKS = {
    "lungs": "segmentation of the lungs on chest CT",
    "classification": "classification of chest CT: COVID-19 or not",
    "severity": "score of the severity of COVID-19 on chest CT",
}


def write_bundle(
    folder: Path,
    network: nn.Module,
    description: Mapping[str, Any],
    card: str,
    training: Mapping[str, Any] | None = None,
) -> ModelBundle:
    """Write a bundle and read it back.

    Parameters
    ----------
    folder
        Has the model's name in lower case.
    description
        ``name``, ``version``, ``task`` (lungs, classification or severity), ``training_data``, ``licence``,
        ``intended_use``, ``demonstration``; ``network`` with ``name`` and ``arguments``; ``input`` with ``shape_kji``
        (of slices: two sizes), ``spacing``, ``window_hu``, ``region``; ``output`` with ``meaning`` and, where it has
        them, ``minimum``, ``maximum``, and ``classes`` in place of one figure. ``authors``, ``copyright`` and
        ``source_sha256`` where the model is not this project's.
    card
        The text of docs/README.md.
    training
        The configuration of the training, in MONAI's syntax; None: it is not known.

    Raises
    ------
    ConfigurationError
        The description makes no valid bundle.
    """
    weights = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    metadata = _metadata(description, hashlib.sha256(weights).hexdigest())
    inference = {"network_def": {"_target_": "covnode.networks.registry.build_network", **description["network"]}}
    configurations = {METADATA: metadata, INFERENCE: inference} | ({} if training is None else {TRAIN: training})
    for part in (METADATA, WEIGHTS, CARD):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
    for file, content in configurations.items():
        (folder / file).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CARD).write_text(card, encoding="utf-8")
    return load_bundle(folder)


def _metadata(description: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    takes, answers = dict(description["input"]), dict(description["output"])
    shape, classes = list(takes.pop("shape_kji")), answers.pop("classes", None)
    converted = {"source_sha256": description["source_sha256"]} if "source_sha256" in description else {}
    return {
        "name": description["name"],
        "version": description["version"],
        "changelog": {description["version"]: "first version of this bundle"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"safetensors": version("safetensors")},
        "task": _TASKS[description["task"]],
        "description": answers["meaning"],
        "authors": description.get("authors", "the authors of covnode"),
        "copyright": description.get("copyright", "Copyright (c) the authors of covnode"),
        "intended_use": description["intended_use"],
        "data_source": description["training_data"],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "CT",
                    "num_channels": 1,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": takes["region"]},
                }
            },
            "outputs": {"pred": _classes(classes, shape) if classes else _figure(answers["meaning"])},
        },
        "covnode": {
            "task": description["task"],
            "sha256": sha256,
            **converted,
            "licence": description["licence"],
            "demonstration": description["demonstration"],
            "input": takes,
            "output": answers,
        },
    }


def _classes(classes: list[str], shape: list[int]) -> dict[str, Any]:
    channels = {str(number): name for number, name in enumerate(classes)}
    return {**_figure(""), "type": "image", "format": "labels", "spatial_shape": shape} | {
        "num_channels": len(channels),
        "channel_def": channels,
    }


def _figure(meaning: str) -> dict[str, Any]:
    """One number for a volume: what leaves the last, linear layer."""
    return {
        "type": "probabilities",
        "format": "classes",
        "modality": "n/a",
        "num_channels": 1,
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": meaning},
    }
