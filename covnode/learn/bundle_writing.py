"""A fitted network as a bundle: weights.safetensors, manifest.toml with their sha256, card.md.

Called by train_demonstration; what it writes, covnode.infer.bundles reads.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import tomlkit
from safetensors.torch import save
from torch import nn

from covnode.infer.bundles import MANIFEST, Manifest, load_bundle

WEIGHTS = "weights.safetensors"


def write_bundle(folder: Path, network: nn.Module, description: Mapping[str, object], card: str) -> Manifest:
    """Write a bundle and read it back.

    Parameters
    ----------
    description
        The manifest without weights and sha256.
    card
        The text of card.md.

    Raises
    ------
    ConfigurationError
        The description makes no valid manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    (folder / WEIGHTS).write_bytes(weights)
    manifest = {**description, "weights": WEIGHTS, "sha256": hashlib.sha256(weights).hexdigest()}
    # Plain values first: in TOML what follows a section belongs to it.
    ordered = dict(sorted(manifest.items(), key=lambda entry: isinstance(entry[1], Mapping)))
    (folder / MANIFEST).write_text(tomlkit.dumps(ordered), encoding="utf-8")
    (folder / "card.md").write_text(card, encoding="utf-8")
    return load_bundle(folder).manifest
