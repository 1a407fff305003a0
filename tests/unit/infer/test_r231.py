"""R231 with weights made here: an untrained network of the same shape, whose answers say nothing about lungs."""

import hashlib
import logging
import sys

import numpy as np
import pytest
import SimpleITK
import torch
from lungmask import LMInferer
from lungmask.resunet import UNet
from phantom_cases import phantom_ct, volume_of

from covnode.errors import LungsNotFound, WeightsMismatch
from covnode.infer.bundles import Manifest, ModelBundle
from covnode.infer.r231 import R231
from covnode.records.volume import Lung


def network(classes=3):
    torch.manual_seed(0)
    return UNet(n_classes=classes, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False).eval()


def r231_of(weights, slices_at_once=1):
    manifest = Manifest(
        name="R231",
        version="made here",
        task="lungs",
        weights=weights.name,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        network={"name": "lungmask-unet"},
        input={"spacing": "any", "region": "axial slices"},
        output={"meaning": "0 background, 1 right lung, 2 left lung"},
        training_data="none",
        licence="Apache-2.0",
        intended_use="tests",
        demonstration=True,
    )
    return R231(ModelBundle(weights.parent, manifest), torch.device("cpu"), slices_at_once)


@pytest.fixture(scope="module")
def volume():
    whole = phantom_ct("covid-mild")
    # lungmask knows no spacing; slices this far apart make the few of them hold the volume of lungs.
    return volume_of(np.ascontiguousarray(whole.voxels_hu[26:28]), (30.0, *whole.spacing_mm[1:]))


@pytest.fixture(scope="module")
def weights(tmp_path_factory, volume):
    """Weights whose answer varies from voxel to voxel: each class wins somewhere."""
    made = network()
    answers = []
    hook = made.last.register_forward_hook(lambda module, inputs, output: answers.append(output))
    grey = np.clip(volume.voxels_hu[:1, ::2, ::2], -1024, 600).astype(np.float32)
    with torch.inference_mode():
        made(torch.nn.functional.interpolate(torch.from_numpy((grey + 1024) / 1624)[None], size=(256, 256)))
        made.last.bias -= answers[0].mean(dim=(0, 2, 3))
    hook.remove()
    path = tmp_path_factory.mktemp("weights") / "made.pth"
    torch.save(made.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def r231(weights):
    return r231_of(weights)


@pytest.fixture(scope="module")
def labels(r231, volume):
    return r231.segment(volume).labels


def test_it_answers_as_lungmask_does_with_the_same_weights(weights, volume, labels):
    expected = LMInferer(modelpath=str(weights), force_cpu=True, tqdm_disable=True).apply(volume.voxels_hu)
    assert set(np.unique(labels)) == {0, Lung.RIGHT, Lung.LEFT}
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("flip", [(2,), (0, 1)])
def test_the_canonical_grid_is_the_one_that_lungmask_works_on(weights, volume, labels, flip):
    # lungmask turns an image with a direction to LPS by itself, and its answer back.
    image = SimpleITK.GetImageFromArray(np.flip(volume.voxels_hu, flip))
    direction = np.diag([-1.0 if axis in flip else 1.0 for axis in (2, 1, 0)])
    image.SetDirection(direction.ravel().tolist())
    answer = LMInferer(modelpath=str(weights), force_cpu=True, tqdm_disable=True).apply(image)
    np.testing.assert_array_equal(np.flip(answer, flip), labels)


def test_it_writes_nothing_to_stdout(r231, volume, capfd, monkeypatch):
    for handler in logging.getLogger("lungmask").handlers:
        if type(handler) is logging.StreamHandler:
            monkeypatch.setattr(handler, "stream", sys.stdout)
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
    with pytest.raises(WeightsMismatch, match=r"other\.pth"):
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


def test_how_many_slices_it_gets_at_once_changes_nothing(weights, volume, labels):
    np.testing.assert_array_equal(r231_of(weights, slices_at_once=2).segment(volume).labels, labels)
