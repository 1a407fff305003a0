"""Models as a site makes them, from those that ship: another name, other weights, or something wrong with them."""

import hashlib
import json
import pickle
import shutil

import torch
from safetensors.torch import load_file, save_file

from covnode.infer.bundles import INFERENCE, METADATA, WEIGHTS
from covnode.wiring.model_store import shipped_models

SCORE_BIAS = "class_layers.out.bias"


def own_model(place, name, shipped="severity-demo", shift=0.0):
    """Put a shipped model into a folder of models by another name, its linear output shifted."""
    folder = place / name
    shutil.copytree(shipped_models() / shipped, folder)
    weights = load_file(folder / WEIGHTS)
    weights[SCORE_BIAS] += shift
    save_file(weights, folder / WEIGHTS)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["name"] = name
    (folder / METADATA).write_text(json.dumps(metadata))
    mend_digest(folder)
    return folder


def mend_digest(folder):
    """Let the metadata say what the weights are now."""
    metadata = json.loads((folder / METADATA).read_text())
    metadata["covnode"]["sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / METADATA).write_text(json.dumps(metadata))


class Trap:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def tamper(folder, trap):
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-100] ^= 1
    (folder / WEIGHTS).write_bytes(weights)


def give_another_architecture(folder, trap):
    inference = json.loads((folder / INFERENCE).read_text())
    inference["network_def"]["arguments"]["growth_rate"] = 4
    (folder / INFERENCE).write_text(json.dumps(inference))


def put_a_pickle_with_code(folder, trap):
    (folder / WEIGHTS).write_bytes(pickle.dumps({"weight": Trap(trap)}))
    mend_digest(folder)


def put_a_torch_file_with_code(folder, trap):
    torch.save({"weight": Trap(trap)}, folder / WEIGHTS)
    mend_digest(folder)


WRONGS = {
    tamper: "differ from the sha256",
    give_another_architecture: "do not fit its network",
    put_a_pickle_with_code: "no safetensors",
    put_a_torch_file_with_code: "no safetensors",
}
"""What can be wrong with a model's folder, and the words that say so."""
