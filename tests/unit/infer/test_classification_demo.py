"""The shipped demonstration models behind the node's own segmentation, on phantoms that training never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch

from covnode.imaging.resampling import NETWORK_SHAPE, network_input
from covnode.infer.bundles import load_bundle
from covnode.infer.classification import Classifier
from covnode.infer.lungs import segment_lungs
from covnode.infer.severity import SeverityRegressor
from covnode.learn.demonstration_data import COVID_PRESETS, affected_percent, phantom_volume
from covnode.learn.phantom import PhantomPreset, make_phantom

MODELS = Path(__file__).parents[3] / "models"
CPU = torch.device("cpu")
SEED = 42


@pytest.fixture(scope="module")
def classifier():
    return Classifier(load_bundle(MODELS / "covid-classifier-demo"), CPU)


@pytest.fixture(scope="module")
def severity():
    return SeverityRegressor(load_bundle(MODELS / "severity-demo"), CPU)


@pytest.fixture(scope="module")
def answers(classifier, severity):
    found = {}
    for preset in PhantomPreset:
        phantom = make_phantom(preset, seed=SEED, slices=72, size=192)
        volume = phantom_volume(phantom)
        lungs = network_input(volume, segment_lungs(volume))
        found[preset] = classifier(lungs), severity(lungs), affected_percent(phantom)
    return found


def test_probability_parts_covid_phantoms_from_the_others(answers):
    for preset, (probability, _, _) in answers.items():
        assert (probability > 0.5) == (preset in COVID_PRESETS), preset


def test_severity_follows_the_affected_share(answers):
    normal, mild, severe = (
        answers[preset] for preset in (PhantomPreset.NORMAL, PhantomPreset.COVID_MILD, PhantomPreset.COVID_SEVERE)
    )
    assert normal[1] < mild[1] < severe[1]
    assert normal[1] < 6
    for _, score, truth in (mild, severe):
        assert score == pytest.approx(truth, abs=12)


def test_equal_input_gives_equal_answers_within_range(classifier, severity):
    lungs = np.random.default_rng(0).random(NETWORK_SHAPE, dtype=np.float32)
    for model, most in ((classifier, 1.0), (severity, 100.0)):
        first = model(lungs)
        assert 0.0 <= first <= most
        assert model(lungs.copy()) == first


def test_answers_name_their_model(classifier, severity):
    assert classifier.identity.task == "classification"
    assert severity.identity.task == "severity"
    assert classifier.identity.demonstration
    assert severity.identity.demonstration
