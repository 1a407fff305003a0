import hashlib

import pytest
import torch
from lungmask.resunet import UNet

from covnode.errors import WeightsMismatch
from covnode.home import Home
from covnode.wiring.inference import load_models
from covnode.wiring.model_store import install_r231, known_models


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of R231's own network, never trained."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    torch.save(network.state_dict(), path)
    return path


def install(home, weights, sha256=None):
    return install_r231(home, str(weights), sha256, lambda _size: None)


def test_weights_of_an_unknown_digest_are_not_installed(tmp_path, weights):
    home = Home(tmp_path)
    with pytest.raises(WeightsMismatch, match="nothing was installed"):
        install(home, weights)
    with pytest.raises(WeightsMismatch):
        install(home, weights, "0" * 64)
    assert list(home.models.iterdir()) == []


def test_installed_weights_segment_the_lungs_and_a_flipped_byte_is_found(tmp_path, weights):
    home = Home(tmp_path)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    bundle = install(home, weights, digest)
    assert bundle.manifest.sha256 == digest
    assert bundle.manifest.version.startswith("lungmask 0.2.")
    assert bundle.manifest.training_data == "unknown: not the published weights of R231"
    assert [known.bundle.manifest.name for known in known_models(home) if known.installed] == ["R231"]
    assert load_models("auto", "float32", home.models, "cpu", 1).r231.identity.sha256 == digest
    assert load_models("density", "auto", home.models, "cpu", 1).r231 is None

    raw = bytearray(bundle.weights_path.read_bytes())
    raw[1000] ^= 1
    bundle.weights_path.write_bytes(raw)
    with pytest.raises(WeightsMismatch):
        known_models(home)
