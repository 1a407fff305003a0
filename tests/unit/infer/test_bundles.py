"""Bundles: read whole, and refused when anything in them is not what the manifest says."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import torch

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.infer.bundles import MANIFEST, load_bundle, verify_bundle
from covnode.infer.device import LoadedNetwork, choose_device
from covnode.learn.bundle_writing import WEIGHTS, write_bundle
from covnode.networks.registry import build_network

ARGUMENTS = {"init_features": 4, "growth_rate": 4, "block_config": [1, 1]}
MODELS = Path(__file__).parents[3] / "models"
SHIPPED = ("covid-classifier-demo", "severity-demo")


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


def rewrite(folder, old, new):
    path = folder / MANIFEST
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_bundle_names_its_model(folder):
    identity = load_bundle(folder).identity
    assert (identity.name, identity.version, identity.task) == ("test-model", "9.1", "severity")
    assert identity.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert identity.demonstration
    verify_bundle(folder)


def test_one_flipped_byte_is_refused(folder):
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    for check in (load_bundle, verify_bundle):
        with pytest.raises(WeightsMismatch, match="sha256"):
            check(folder)


def test_weights_that_change_after_the_check_are_refused(folder):
    bundle = load_bundle(folder)
    (folder / WEIGHTS).write_bytes(b"others")
    with pytest.raises(WeightsMismatch, match="sha256"):
        LoadedNetwork(bundle, torch.device("cpu"))


def test_absent_weights_are_refused(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsMismatch, match="cannot be read"):
        verify_bundle(folder)


def test_weights_of_another_network_are_refused(folder):
    rewrite(folder, "init_features = 4", "init_features = 8")
    with pytest.raises(WeightsMismatch, match="do not fit"):
        LoadedNetwork(load_bundle(folder), torch.device("cpu"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('task = "severity"', 'task = "everything"'),
        ("demonstration = true", ""),
        ('weights = "weights.safetensors"', 'weights = "../weights.safetensors"'),
        ('licence = "Apache-2.0"', 'license = "Apache-2.0"'),
        ("[network]", "[network"),
    ],
)
def test_an_invalid_manifest_is_refused(folder, old, new):
    rewrite(folder, old, new)
    with pytest.raises(ConfigurationError, match="test-model"):
        load_bundle(folder)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=MANIFEST):
        load_bundle(tmp_path)


def test_the_network_gets_the_weights(folder):
    network = LoadedNetwork(load_bundle(folder), torch.device("cpu"))._network
    torch.manual_seed(0)
    expected = build_network("densenet3d", ARGUMENTS).state_dict()
    assert not network.training
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_bundles_are_whole_small_and_say_what_they_are(name):
    verify_bundle(MODELS / name)
    manifest = tomllib.loads((MODELS / name / MANIFEST).read_text())
    assert manifest["demonstration"] is True
    assert "demonstration, not for clinical use" in manifest["intended_use"]
    assert "synthetic phantoms" in manifest["training_data"]
    card = (MODELS / name / "card.md").read_text()
    assert "demonstration, not for clinical use" in card.lower()
    assert "Measured on phantoms" in card
    assert "nothing about accuracy on patients" in card
    assert (MODELS / name / manifest["weights"]).stat().st_size < 5_000_000


def test_device_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigurationError, match=absent):
        choose_device(absent)
    for name in ("gpu", "cuda", "cuda:", "cuda:x", "cpu:0", "", "mps", "auto"):
        with pytest.raises(ConfigurationError, match="unknown device"):
            choose_device(name)
