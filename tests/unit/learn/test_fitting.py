"""Fitting: learns what can be learned, keeps the best epoch, stops early, repeats itself."""

import numpy as np
import pytest
import torch
from torch import nn

from covnode.learn.fitting import Recipe, Set, fit, predict


def learnable(seed, count=48):
    """Volumes whose mean density is the target."""
    rng = np.random.default_rng(seed)
    targets = rng.uniform(0.1, 0.9, count).astype(np.float32)
    inputs = np.broadcast_to(targets[:, None, None, None], (count, 2, 4, 4)) + rng.normal(0, 0.02, (count, 2, 4, 4))
    return Set(inputs.astype(np.float16), targets)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 1))


def fitted(*, epochs=12, patience=4, validation=None):
    model = network()
    recipe = Recipe(nn.functional.mse_loss, epochs=epochs, seed=1, learning_rate=0.02, patience=patience)
    seen = []
    result = fit(model, learnable(0), validation or learnable(1), recipe, seen.append)
    assert tuple(seen) == result
    return model, result


def test_fitting_learns_and_repeats_itself():
    first, epochs = fitted()
    again, _ = fitted()
    held_out = learnable(1)
    assert np.abs(predict(first, held_out.inputs) - held_out.targets).mean() < 0.1
    assert epochs[-1].training_loss < epochs[0].training_loss / 3
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_fitting_keeps_its_best_epoch_and_stops_early():
    good = learnable(1)
    # Held-out targets that run against the training ones: every epoch makes it worse.
    opposed = Set(good.inputs, -10.0 * good.targets)
    model, epochs = fitted(epochs=30, patience=2, validation=opposed)
    best = min(epochs, key=lambda epoch: epoch.validation_loss)
    assert len(epochs) == best.number + 2
    loss = float(np.mean((predict(model, opposed.inputs) - opposed.targets) ** 2))
    assert loss == pytest.approx(best.validation_loss, rel=1e-4)


def test_fitting_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(tmp_path):
    def fit_to(epochs, checkpoint):
        model = network()
        recipe = Recipe(nn.functional.mse_loss, epochs=epochs, seed=1, learning_rate=0.02)
        seen = []
        return model, fit(model, learnable(0), learnable(1), recipe, seen.append, checkpoint), seen

    whole, all_epochs, _ = fit_to(6, None)
    fit_to(3, tmp_path / "checkpoint.pt")
    resumed, epochs, seen = fit_to(6, tmp_path / "checkpoint.pt")
    assert epochs == all_epochs
    assert [epoch.number for epoch in seen] == [4, 5, 6]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])
