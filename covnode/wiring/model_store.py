"""The models that the node can use: shipped ones, and those that the site installed in the home folder.

Says which of them the settings choose. Asked by the worker at its start, by its child, doctor and ``covnode models``.
"""

from dataclasses import dataclass
from pathlib import Path

from covnode.errors import ConfigurationError, CovnodeError
from covnode.home import Home
from covnode.infer.bundle_metadata import Task
from covnode.infer.bundles import METADATA, OLD_MANIFEST, ModelBundle, load_bundle
from covnode.logs import get_logger
from covnode.sections import AUTO, DENSITY, WorkerSettings, is_model_name
from covnode.store.engine import data_folder

R231_FOLDER = "r231"


@dataclass(frozen=True)
class KnownModel:
    """A model's folder, whether the site installed it, and its bundle, or why it is refused."""

    folder: Path
    installed: bool
    bundle: ModelBundle | None
    refusal: str | None = None


def shipped_models() -> Path:
    """Return the folder of the models that ship with covnode."""
    return data_folder("models")


def known_models(home: Home) -> list[KnownModel]:
    """Load and verify every model; one that is refused says why."""
    places = {shipped_models(): False, home.models: True}
    return [
        _known(folder, installed=installed)
        for place, installed in places.items()
        for folder in sorted(place.glob("[!.]*"))
        if (folder / METADATA).exists() or (folder / OLD_MANIFEST).exists()
    ]


def _known(folder: Path, *, installed: bool) -> KnownModel:
    try:
        return KnownModel(folder, installed, load_bundle(folder))
    except CovnodeError as error:
        return KnownModel(folder, installed, None, str(error))


def folder_of(installed_models: Path, name: str) -> Path:
    """Return the folder of a model; what the site installed comes before what ships.

    Raises
    ------
    ConfigurationError
        There is none of this name.
    """
    # A name and no path: nothing beside the two places is a model.
    for place in (installed_models, shipped_models()) if is_model_name(name) else ():
        if (place / name.lower()).is_dir():
            return place / name.lower()
    raise ConfigurationError(
        f"there is no model {name}: 'covnode models list' lists all, 'covnode models install {name}' installs one."
    )


def load_model(installed_models: Path, name: str, task: Task) -> ModelBundle:
    """Load and verify a model that is to serve a task.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        It is not there, it is refused, or it serves another task.
    """
    bundle = load_bundle(folder_of(installed_models, name))
    if bundle.task != task:
        raise ConfigurationError(f"worker.{task} is {name}, which is a model for {bundle.task}.")
    return bundle


def active_models(settings: WorkerSettings, installed_models: Path) -> dict[Task, str]:
    """Return the name of the model that serves each task; lungs are absent where no network segments them."""
    chosen: dict[Task, str] = {
        "lungs": settings.lungs,
        "classification": settings.classification,
        "severity": settings.severity,
    }
    if settings.lungs == AUTO and (installed_models / R231_FOLDER).exists():
        chosen["lungs"] = R231_FOLDER
    return {task: name for task, name in chosen.items() if task != "lungs" or name not in {AUTO, DENSITY}}


def report_models(settings: WorkerSettings, home: Home) -> None:
    """Log every model as verified or refused, before a worker begins.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        One that the settings choose is refused.
    """
    verified: dict[Path, Task] = {}
    for known in known_models(home):
        if known.bundle is None:
            get_logger().error("model_refused", model=known.folder.name, reason=known.refusal)
        else:
            named = known.bundle.identity.model_dump(include={"name", "version", "sha256"})
            get_logger().info("model_verified", **named)
            verified[known.folder] = known.bundle.task
    for task, name in active_models(settings, home.models).items():
        # What is verified is not read again; anything else says why it is refused.
        if verified.get(folder_of(home.models, name)) != task:
            load_model(home.models, name, task)
