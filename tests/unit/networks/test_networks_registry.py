import pytest
import torch

from covnode.errors import ConfigurationError
from covnode.networks.registry import build_network


def test_densenet_answers_one_figure_for_each_volume():
    network = build_network("densenet3d", {"init_features": 4, "growth_rate": 4, "block_config": [1, 1]}).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 32, 64, 64)).shape == (2, 1)


def test_an_unknown_network_or_argument_is_refused():
    with pytest.raises(ConfigurationError, match="densenet3d"):
        build_network("resnet", {})
    with pytest.raises(ConfigurationError, match="depth"):
        build_network("densenet3d", {"depth": 3})


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "seresnet50", "zunair3d"])
def test_networks_to_choose_answer_one_linear_figure_for_each_volume(name):
    torch.manual_seed(0)
    network = build_network(name, {}).eval()
    with torch.inference_mode():
        answers = network(torch.rand(2, 1, 48, 48, 48))
    assert answers.shape == (2, 1)
    # Linear: what the last layer's bias gains the answer gains, which no sigmoid would let pass.
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    volume = torch.rand(1, 1, 48, 48, 48)
    with torch.inference_mode():
        before = network(volume)
        last.bias.add_(5.0)
        assert torch.allclose(network(volume), before + 5.0, atol=1e-4)


def test_zunairs_network_has_the_layers_of_the_paper():
    network = build_network("zunair3d", {})
    kinds = [type(module).__name__ for module in network]
    assert kinds == [
        *(["Conv3d", "ReLU", "MaxPool3d", "BatchNorm3d"] * 4),
        *("AdaptiveAvgPool3d", "Flatten", "Linear", "ReLU", "Dropout", "Linear"),
    ]
    filters = [module.out_channels for module in network if isinstance(module, torch.nn.Conv3d)]
    assert filters == [64, 64, 128, 256]
    # What the published Keras code prints as trainable.
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_351_873
