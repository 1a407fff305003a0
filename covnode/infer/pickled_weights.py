"""Where others' files of torch.save are opened: published weights, once, to be converted to safetensors.

Called by the installation of models. Weights alone are read; a pickle that would run code is
refused, and nothing of it runs.
"""

import pickle
from pathlib import Path

import torch

from covnode.errors import WeightsMismatch


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dictionary as torch.save writes it.

    Raises
    ------
    WeightsMismatch
        The file holds something other than tensors by their names, code in particular, or cannot be read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsMismatch("the file holds more than weights, which may be code: it was not opened") from error
    except (RuntimeError, EOFError, AttributeError, TypeError, KeyError, ValueError, IndexError, OSError) as error:
        raise WeightsMismatch("the file holds no weights as torch.save writes them") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsMismatch("the file holds something other than weights by their names")
    return state
