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
