"""Models checked whole: metadata, digest, contract, and the network built and filled with the weights.

Called by ``covnode models`` and by doctor, which may take the seconds that torch takes to load; it lives here.
"""

from dataclasses import replace
from pathlib import Path

from covnode.errors import CovnodeError
from covnode.home import Home
from covnode.infer.bundles import ModelBundle, load_bundle
from covnode.infer.device import network_of
from covnode.wiring.model_store import KnownModel, known_models


def check(folder: Path) -> ModelBundle:
    """Return the bundle of a folder once all of it holds.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        What does not.
    """
    bundle = load_bundle(folder)
    network_of(bundle)
    return bundle


def checked(home: Home) -> list[KnownModel]:
    """Check every model; one that is refused says why."""
    return [_whole(known) for known in known_models(home)]


def _whole(known: KnownModel) -> KnownModel:
    if known.bundle is None:
        return known
    try:
        network_of(known.bundle)
    except CovnodeError as error:
        return replace(known, bundle=None, refusal=str(error))
    return known
