"""What the worker tells its inference child; apart from inference.py, so that the worker itself needs no torch."""

from dataclasses import dataclass
from pathlib import Path

from covnode.settings import WorkerSettings


@dataclass(frozen=True)
class InferencePlan:
    """What to analyse with, and where the answer goes.

    Attributes
    ----------
    installed_models
        The folder of models that the site installed itself.
    out
        Gets the objects, the masks and the record.
    """

    settings: WorkerSettings
    installed_models: Path
    out: Path
