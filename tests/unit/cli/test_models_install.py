"""Models that a site installs: checked by digest, opened as weights alone, converted, or refused."""

import hashlib
import json
import shutil

import pytest
import torch
from lungmask.mask import MODEL_URLS
from lungmask.resunet import UNet
from safetensors.torch import load_file

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.home import Home
from covnode.infer.bundles import CARD, METADATA, load_bundle
from covnode.sections import WorkerSettings
from covnode.wiring.inference import load_models
from covnode.wiring.model_install import PUBLISHED, install_bundle, install_published
from covnode.wiring.model_store import known_models, shipped_models


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of R231's own network, never trained."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    torch.save(network.state_dict(), path)
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install(home, weights, digest=None, name="r231"):
    return install_published(home, name, str(weights), digest, lambda _size: None)


def models_of(home, lungs):
    return load_models(WorkerSettings(lungs=lungs), home.models, "cpu", 1)


def installed(home):
    return [known.folder.name for known in known_models(home) if known.installed]


def test_digits_and_classes_are_those_that_lungmask_publishes():
    told = {name: (each.url, len(each.classes)) for name, each in PUBLISHED.items()}
    assert told == {name.lower(): published for name, published in MODEL_URLS.items()}
    assert all(each.file.endswith(f"-{each.digits}.pth") for each in PUBLISHED.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_of_an_unknown_digest_are_not_installed(tmp_path, weights, name):
    home = Home(tmp_path)
    with pytest.raises(WeightsMismatch, match="nothing was installed"):
        install(home, weights, name=name)
    with pytest.raises(WeightsMismatch):
        install(home, weights, "0" * 64, name)
    assert list(home.models.iterdir()) == []


def test_installed_weights_are_converted_and_used_and_a_flipped_byte_is_found(tmp_path, weights):
    home = Home(tmp_path)
    bundle = install(home, weights, sha256(weights))
    assert bundle.metadata.covnode.source_sha256 == sha256(weights)
    assert bundle.sha256 == sha256(bundle.weights_path)
    assert bundle.metadata.version.startswith("lungmask 0.2.")
    assert bundle.metadata.data_source == "unknown: not the published weights of R231"
    original = torch.load(weights, weights_only=True)
    converted = load_file(bundle.weights_path)
    assert original.keys() == converted.keys()
    assert all(torch.equal(original[key], converted[key]) for key in original)
    assert not list(home.models.rglob("*.pth"))
    assert installed(home) == ["r231"]
    assert models_of(home, "auto").lungs.identity.sha256 == bundle.sha256
    assert models_of(home, "density").lungs is None

    raw = bytearray(bundle.weights_path.read_bytes())
    raw[-1000] ^= 1
    bundle.weights_path.write_bytes(raw)
    (refused,) = [known for known in known_models(home) if known.refusal]
    assert "sha256" in refused.refusal
    load_models.cache_clear()
    with pytest.raises(WeightsMismatch):
        models_of(home, "auto")


def test_an_alternative_is_used_when_it_is_named(tmp_path, weights):
    home = Home(tmp_path)
    install(home, weights, sha256(weights), "r231covidweb")
    assert models_of(home, "R231CovidWeb").lungs.identity.name == "R231CovidWeb"
    assert models_of(home, "auto").lungs is None
    with pytest.raises(ConfigurationError, match="install r231'"):
        models_of(home, "r231")
    with pytest.raises(ConfigurationError, match="a model for severity"):
        models_of(home, "severity-demo")


def test_weights_of_another_network_are_not_installed(tmp_path, weights):
    home = Home(tmp_path)
    with pytest.raises(WeightsMismatch, match="LTRCLobes"):
        install(home, weights, sha256(weights), "ltrclobes")
    assert installed(home) == []


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_a_file_with_code_in_it_is_not_installed_and_nothing_of_it_runs(tmp_path, weights):
    home, trap, file = Home(tmp_path / "home"), tmp_path / "ran", tmp_path / "trap.pth"
    install(home, weights, sha256(weights))
    before = sha256(home.models / "r231" / METADATA)
    torch.save({**torch.load(weights, weights_only=True), "last.bias": Trap(trap)}, file)
    with pytest.raises(WeightsMismatch, match="may be code"):
        install(home, file, sha256(file))
    assert not trap.exists()
    assert sha256(home.models / "r231" / METADATA) == before
    torch.load(file, weights_only=False)
    assert trap.exists()  # so the trap works where it is opened


def test_a_folder_of_the_older_layout_is_refused_with_the_way_out_and_that_works(tmp_path, weights):
    home = Home(tmp_path)
    old = home.models / "r231"
    old.mkdir(parents=True)
    shutil.copy(weights, old / "weights.pth")
    (old / "manifest.toml").write_text(f'sha256 = "{sha256(weights)}"\n')
    (refused,) = [known for known in known_models(home) if known.installed]
    assert f"covnode models install r231 --from {old / 'weights.pth'}" in refused.refusal
    with pytest.raises(ConfigurationError, match="older release"):
        models_of(home, "auto")
    install(home, old / "weights.pth", sha256(weights))
    assert models_of(home, "auto").lungs.identity.name == "R231"
    assert not (old / "manifest.toml").exists()


@pytest.fixture
def own(tmp_path):
    """A bundle that the site made: the shipped one by another name."""
    folder = tmp_path / "made" / "own-severity"
    shutil.copytree(shipped_models() / "severity-demo", folder)
    metadata = json.loads((folder / METADATA).read_text())
    (folder / METADATA).write_text(json.dumps({**metadata, "name": "own-severity"}))
    return folder


def test_a_bundle_of_the_sites_own_is_installed_from_its_folder(tmp_path, own):
    home = Home(tmp_path / "home")
    (own / "models" / "model.pt").write_bytes(b"something else")
    install_bundle(home, "own-severity", own)
    assert load_bundle(home.models / "own-severity").card == (own / CARD).read_text()
    assert not (home.models / "own-severity" / "models" / "model.pt").exists()


def test_a_bundle_that_is_refused_or_takes_a_name_is_not_installed(tmp_path, own):
    home = Home(tmp_path / "home")
    for taken in ("severity-demo", "r231"):
        with pytest.raises(ConfigurationError, match="another model"):
            install_bundle(home, taken, own)
    with pytest.raises(ConfigurationError, match="own-severity"):
        install_bundle(home, "other", own)
    inference = own / "configs" / "inference.json"
    inference.write_text(inference.read_text().replace('"growth_rate": 8', '"growth_rate": 4'))
    with pytest.raises(WeightsMismatch, match="do not fit"):
        install_bundle(home, "own-severity", own)
    assert installed(home) == []
    assert list(home.models.iterdir()) == []


@pytest.mark.parametrize("part", ["", "d", "d5d2fc3d"])
def test_a_part_of_a_digest_is_none(tmp_path, weights, part):
    with pytest.raises(ConfigurationError, match="64 hex digits"):
        install(Home(tmp_path), weights, part)
