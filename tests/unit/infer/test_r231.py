"""R231 with weights made here: a network of the same shape, of which the last layer alone was ever fitted."""

import hashlib

import numpy as np
import pytest
import SimpleITK
import torch
from lungmask import LMInferer
from lungmask.resunet import UNet
from phantom_cases import dice, phantom_ct, volume_of

from covnode.errors import LungsNotFound, WeightsMismatch
from covnode.home import Home
from covnode.infer.r231 import R231
from covnode.infer.slice_crops import cut_out
from covnode.infer.slice_engines import TorchEngine, has_bfloat16
from covnode.records.volume import Lung
from covnode.wiring.model_install import install_published

SLICES = slice(26, 28)


def network(classes=3):
    torch.manual_seed(0)
    return UNet(n_classes=classes, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False).eval()


def bundle_of(weights, name="r231"):
    """As a site installs it."""
    home = Home(weights.parent / f"home-{weights.stem}-{name}")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return install_published(home, name, str(weights), digest, lambda _size: None)


def r231_of(weights, precision="float32"):
    return R231(bundle_of(weights), torch.device("cpu"), 1, precision)


@pytest.fixture(scope="module")
def volume():
    whole = phantom_ct("covid-mild")
    # The network knows no spacing; slices this far apart make the few of them hold the volume of lungs.
    return volume_of(np.ascontiguousarray(whole.voxels_hu[SLICES]), (300.0, *whole.spacing_mm[1:]))


def fitted_weights(path, volume, bounds):
    """Random weights but for the last layer, which is fitted to tell densities apart: so the answers are clear."""
    made = network(len(bounds) + 1)
    features = []
    hook = made.last.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    slices, _ = cut_out(volume.voxels_hu)
    with torch.inference_mode():
        made(torch.from_numpy(slices)[:, None])
    hook.remove()
    targets = np.digitize(slices, bounds)
    known = features[0].permute(0, 2, 3, 1).reshape(-1, 64)[::7]
    known = torch.cat([known, torch.ones(len(known), 1)], dim=1).double()
    wanted = torch.nn.functional.one_hot(torch.from_numpy(targets).long().ravel()[::7], len(bounds) + 1).double()
    # Features that are nearly the same would get large weights against each other, and rounding a large voice.
    fitted = torch.linalg.solve(known.T @ known + len(known) * 1e-8 * torch.eye(65), known.T @ wanted).float()
    made.last.weight.data = fitted[:64].T.reshape(-1, 64, 1, 1).clone()
    made.last.bias.data = fitted[64].clone()
    torch.save(made.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory, volume):
    """Air, lung and tissue."""
    return fitted_weights(tmp_path_factory.mktemp("weights") / "made.pth", volume, [0.06, 0.45])


@pytest.fixture(scope="module")
def expected(weights, volume):
    return LMInferer(modelpath=str(weights), force_cpu=True, tqdm_disable=True).apply(volume.voxels_hu)


@pytest.fixture(scope="module")
def r231(weights):
    return r231_of(weights)


@pytest.fixture(scope="module")
def labels(r231, volume):
    return r231.segment(volume).labels


@pytest.mark.parametrize("slices_at_once", [1, 2])
def test_on_torch_it_answers_as_lungmask_does_voxel_for_voxel(weights, volume, expected, slices_at_once, monkeypatch):
    monkeypatch.setattr(
        "covnode.infer.r231.engine_for",
        lambda network, device, at_once, _precision: TorchEngine(network, device, at_once),
    )
    answer = R231(bundle_of(weights), torch.device("cpu"), slices_at_once, "float32").segment(volume).labels
    np.testing.assert_array_equal(answer, expected)
    assert set(np.unique(expected)) == {0, Lung.RIGHT, Lung.LEFT}
    assert answer.dtype == np.uint8


def test_on_the_cpus_own_engine_rounding_alone_makes_a_difference(labels, expected):
    assert np.count_nonzero(labels != expected) <= 1e-4 * labels.size


def test_in_half_the_precision_each_lung_is_nearly_the_same(weights, volume, expected):
    if not has_bfloat16():
        pytest.skip("this CPU has no bfloat16")
    answer = r231_of(weights, "bfloat16").segment(volume).labels
    assert min(dice(answer == lung, expected == lung) for lung in Lung) > 0.999


def test_lobes_are_told_by_their_lung(tmp_path, volume):
    weights = fitted_weights(tmp_path / "lobes.pth", volume, [0.04, 0.08, 0.2, 0.45, 0.63])
    lobes = LMInferer(modelpath=str(weights), force_cpu=True, tqdm_disable=True).apply(volume.voxels_hu)
    assert len(np.unique(lobes)) > 3
    lobed = R231(bundle_of(weights, "ltrclobes"), torch.device("cpu"), 1, "float32")
    answer = lobed.labels(volume.voxels_hu)
    assert lobed.identity.name == "LTRCLobes"
    lungs = np.where(lobes == 0, 0, np.where(lobes <= 2, Lung.LEFT, Lung.RIGHT))
    assert np.count_nonzero(answer != lungs) <= 1e-4 * lungs.size
    assert {Lung.LEFT, Lung.RIGHT} <= set(np.unique(answer))


@pytest.mark.parametrize("flip", [(2,), (0, 1)])
def test_the_canonical_grid_is_the_one_that_lungmask_works_on(weights, volume, expected, flip):
    # lungmask turns an image with a direction to LPS by itself, and its answer back.
    image = SimpleITK.GetImageFromArray(np.flip(volume.voxels_hu, flip))
    direction = np.diag([-1.0 if axis in flip else 1.0 for axis in (2, 1, 0)])
    image.SetDirection(direction.ravel().tolist())
    answer = LMInferer(modelpath=str(weights), force_cpu=True, tqdm_disable=True).apply(image)
    np.testing.assert_array_equal(np.flip(answer, flip), expected)


def test_it_writes_nothing_to_stdout(r231, volume, capfd):
    r231.segment(volume)
    assert capfd.readouterr().out == ""


def test_a_mask_without_lungs_is_refused(tmp_path, weights, volume):
    state = torch.load(weights)
    state["last.bias"] += torch.tensor([1000.0, 0.0, 0.0])
    torch.save(state, tmp_path / "nothing.pth")
    with pytest.raises(LungsNotFound):
        r231_of(tmp_path / "nothing.pth").segment(volume)


@pytest.mark.parametrize(
    "content",
    [{}, {"weight": torch.zeros(3, 3)}, torch.zeros(3), {"last.bias": 3}, "six classes", b"", b"no archive"],
    ids=["empty", "other network", "tensor", "number", "six classes", "empty file", "text"],
)
def test_other_files_are_a_mismatch(tmp_path, content):
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(network(6).state_dict() if content == "six classes" else content, path)
    with pytest.raises(WeightsMismatch, match=r"the (weights|file)"):
        r231_of(path)


def test_a_file_that_would_run_code_is_a_mismatch(tmp_path):
    trap = tmp_path / "ran"
    torch.save({"last.bias": Trap(trap)}, tmp_path / "trap.pth")
    with pytest.raises(WeightsMismatch):
        r231_of(tmp_path / "trap.pth")
    assert not trap.exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)
