"""Bundles: read whole, and refused when anything in them is not what their metadata say."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_METADATA

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.infer.bundles import CARD, INFERENCE, METADATA, TRAIN, WEIGHTS, load_bundle
from covnode.infer.device import LoadedNetwork, choose_device, network_of
from covnode.learn.bundle_writing import write_bundle
from covnode.learn.train_demonstration import Plan
from covnode.networks.registry import build_network

ARGUMENTS = {"init_features": 4, "growth_rate": 4, "block_config": [1, 1]}
MODELS = Path(__file__).parents[3] / "models"
SHIPPED = {
    "covid-classifier-demo": "71f48a2e640ec90ff781e9586d23c9d04a234e1ebf4d15fd1a16e0bf8717a430",
    "severity-demo": "b54c36a940346a1288f4b6b5bc32eaa14ab9757513370e4574060f6e826438dd",
}
TENSOR_KEYS = {
    "type",
    "format",
    "modality",
    "num_channels",
    "spatial_shape",
    "dtype",
    "value_range",
    "is_patch_data",
    "channel_def",
}
"""Mandatory in each format specifier by MONAI's mb_specification."""


def description(arguments):
    return {
        "name": "test-model",
        "version": "9.1",
        "task": "severity",
        "training_data": "none",
        "licence": "Apache-2.0",
        "intended_use": "tests",
        "demonstration": True,
        "network": {"name": "densenet3d", "arguments": arguments},
        "input": {"shape_kji": [64, 128, 128], "spacing": "any", "window_hu": [-1000.0, 400.0], "region": "lungs"},
        "output": {"meaning": "score"},
    }


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    write_bundle(tmp_path / "test-model", build_network("densenet3d", ARGUMENTS), description(ARGUMENTS), "a card")
    return tmp_path / "test-model"


def change(folder, file, *path, to):
    """Set what lies at a path of a configuration; None: remove it."""
    content = json.loads((folder / file).read_text())
    part = content
    for key in path[:-1]:
        part = part[key]
    assert path[-1] in part or path[-1] == "new"
    if to is None:
        del part[path[-1]]
    else:
        part[path[-1]] = to
    (folder / file).write_text(json.dumps(content))


def replace_weights(folder, content):
    """As somebody does who mends the digest, too."""
    (folder / WEIGHTS).write_bytes(content)
    change(folder, METADATA, "covnode", "sha256", to=hashlib.sha256(content).hexdigest())


def test_a_bundle_names_its_model(folder):
    bundle = load_bundle(folder)
    identity = bundle.identity
    assert (identity.name, identity.version, identity.task) == ("test-model", "9.1", "severity")
    assert identity.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert identity.demonstration
    assert bundle.card == "a card"


def test_one_flipped_byte_is_refused(folder):
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(WeightsMismatch, match="sha256"):
        load_bundle(folder)


def test_weights_that_change_after_the_check_are_refused(folder):
    bundle = load_bundle(folder)
    (folder / WEIGHTS).write_bytes(b"others")
    with pytest.raises(WeightsMismatch, match="sha256"):
        LoadedNetwork(bundle, torch.device("cpu"))


def test_absent_weights_are_refused(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsMismatch, match="cannot be read"):
        load_bundle(folder)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_a_pickle_in_the_place_of_the_weights_is_refused_and_nothing_of_it_runs(folder, tmp_path):
    trap = tmp_path / "ran"
    replace_weights(folder, pickle.dumps(Trap(trap)))
    with pytest.raises(WeightsMismatch, match="no safetensors"):
        load_bundle(folder)
    torch.save({"weight": Trap(trap)}, tmp_path / "trap.pth")
    replace_weights(folder, (tmp_path / "trap.pth").read_bytes())
    with pytest.raises(WeightsMismatch, match="no safetensors"):
        load_bundle(folder)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists()  # so the trap works where it is opened


def test_weights_of_another_network_are_refused(folder):
    change(folder, INFERENCE, "network_def", "arguments", "init_features", to=8)
    with pytest.raises(WeightsMismatch, match="do not fit"):
        LoadedNetwork(load_bundle(folder), torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("lungmask-unet", {"classes": 3}, "does not take its input"),
        ("no-such", {}, "no-such"),
        ("densenet3d", {"block_config": []}, "does not|do not|answers"),
        ("densenet3d", {"depth": 3}, "depth"),
    ],
)
def test_a_wrong_architecture_is_refused(folder, name, arguments, reason):
    change(folder, INFERENCE, "network_def", "name", to=name)
    change(folder, INFERENCE, "network_def", "arguments", to=arguments)
    with pytest.raises((ConfigurationError, WeightsMismatch), match=reason):
        network_of(load_bundle(folder))


def test_an_answer_of_another_shape_is_refused(folder):
    change(folder, METADATA, "network_data_format", "outputs", "pred", "spatial_shape", to=[64])
    with pytest.raises(ConfigurationError, match="answers"):
        network_of(load_bundle(folder))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("network_data_format", "inputs", "image", "spatial_shape"), [96, 96, 96]),
        (("network_data_format", "inputs", "image", "num_channels"), 2),
        (("network_data_format", "inputs", "image", "dtype"), "float16"),
        (("network_data_format", "inputs", "image", "value_range"), [-1, 1]),
        (("covnode", "input", "window_hu"), [-1350.0, 150.0]),
        (("covnode", "task"), "lungs"),
        (("network_data_format", "outputs", "pred", "num_channels"), 3),
    ],
)
def test_an_input_that_the_node_does_not_give_is_refused(folder, path, value):
    change(folder, METADATA, *path, to=value)
    with pytest.raises(ConfigurationError, match=r"the node (gives|takes)"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        (METADATA, ("covnode", "task"), "everything"),
        (METADATA, ("covnode", "demonstration"), None),
        (METADATA, ("covnode", "licence"), None),
        (METADATA, ("covnode", "licence"), ""),
        (METADATA, ("covnode", "new"), "Apache-2.0"),
        (METADATA, ("covnode", "sha256"), "d5d2fc3d"),
        (METADATA, ("name",), "../test-model"),
        (METADATA, ("network_data_format", "inputs", "image", "dtype"), None),
        (INFERENCE, ("network_def", "_target_"), "os.system"),
        (INFERENCE, ("new",), "$__import__('os').system('true')"),
    ],
)
def test_an_invalid_configuration_is_refused(folder, file, path, value):
    change(folder, file, *path, to=value)
    with pytest.raises(ConfigurationError, match="test-model"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff", "[" * 100_000])
def test_a_configuration_that_is_no_json_is_refused(folder, text):
    (folder / METADATA).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError, match="test-model"):
        load_bundle(folder)


def test_a_folder_of_another_name_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    with pytest.raises(ConfigurationError, match="test-model"):
        load_bundle(tmp_path / "other")


def test_a_folder_without_metadata_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"metadata\.json"):
        load_bundle(tmp_path)


def test_the_network_gets_the_weights(folder):
    network = LoadedNetwork(load_bundle(folder), torch.device("cpu"))._network
    torch.manual_seed(0)
    expected = build_network("densenet3d", ARGUMENTS).state_dict()
    assert not network.training
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_bundles_are_whole_small_and_say_what_they_are(name):
    bundle = load_bundle(MODELS / name)
    network_of(bundle)
    assert bundle.sha256 == SHIPPED[name]
    assert bundle.metadata.covnode.demonstration is True
    assert "demonstration, not for clinical use" in bundle.metadata.intended_use
    assert "synthetic phantoms" in bundle.metadata.data_source
    assert "demonstration, not for clinical use" in bundle.card.lower()
    assert "Measured on phantoms" in bundle.card
    assert "nothing about accuracy on patients" in bundle.card
    assert bundle.weights_path.stat().st_size < 5_000_000
    assert (MODELS / name / CARD).exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_bundles_have_what_monai_demands_and_monai_builds_their_network(name):
    metadata = json.loads((MODELS / name / METADATA).read_text())
    assert DEFAULT_METADATA.keys() <= metadata.keys()
    formats = metadata["network_data_format"]
    assert formats["inputs"]["image"].keys() >= TENSOR_KEYS
    assert formats["outputs"]["pred"].keys() >= TENSOR_KEYS
    parser = ConfigParser()
    parser.read_config(MODELS / name / INFERENCE)
    parser.read_meta(MODELS / name / METADATA)
    expected = network_of(load_bundle(MODELS / name)).state_dict()
    built = parser.get_parsed_content("network_def").state_dict()
    assert {key: tensor.shape for key, tensor in built.items()} == {k: t.shape for k, t in expected.items()}
    training = ConfigParser()
    training.read_config(MODELS / name / TRAIN)
    assert training.get_parsed_content("plan") == Plan(Path("models"), phantoms=288, epochs=5, seed=0)


def test_device_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigurationError, match=absent):
        choose_device(absent)
    for name in ("gpu", "cuda", "cuda:", "cuda:x", "cpu:0", "", "mps", "auto"):
        with pytest.raises(ConfigurationError, match="unknown device"):
            choose_device(name)
