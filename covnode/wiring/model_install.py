"""Models that do not ship with covnode, brought into the home folder: lungmask's, and bundles of the site's own.

lungmask's weights are checked by their published digits, opened as weights alone, converted to safetensors, verified.
Called by ``covnode models install``; torch lives here.
"""

import hashlib
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.home import Home
from covnode.infer.bundles import CARD, INFERENCE, METADATA, TRAIN, WEIGHTS, ModelBundle, load_bundle
from covnode.infer.device import network_of
from covnode.infer.pickled_weights import read_state_dict
from covnode.infer.slice_crops import SIDE, SLICE_WINDOW_HU
from covnode.learn.bundle_writing import write_bundle
from covnode.networks.registry import build_network
from covnode.sections import is_model_name
from covnode.wiring.model_store import shipped_models

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60
_RELEASE = "https://github.com/JoHof/lungmask/releases/download/v0.0"
_LUNGS = ("background", "right lung", "left lung")
_LOBES = ("background", "left upper", "left lower", "right upper", "right middle", "right lower lobe")


@dataclass(frozen=True)
class Published:
    """Weights that lungmask publishes.

    Attributes
    ----------
    digits
        First digits of the file's sha256, as its publishers put them into its name.
    classes
        What the network tells apart.
    """

    name: str
    file: str
    digits: str
    classes: tuple[str, ...]
    training_data: str
    intended_use: str

    @property
    def url(self) -> str:
        """Where it is published."""
        return f"{_RELEASE}/{self.file}"


PUBLISHED = {
    each.name.lower(): each
    for each in (
        Published(
            "R231",
            "unet_r231-d5d2fc3d.pth",
            "d5d2fc3d",
            _LUNGS,
            "231 chest CT of routine care (Hofmanninger et al. 2020)",
            "segmentation of the lungs on chest CT, also with severe disease",
        ),
        Published(
            "R231CovidWeb",
            "unet_r231covid-0de78a7e.pth",
            "0de78a7e",
            _LUNGS,
            "R231, trained further on slices of COVID-19 from the web (Hofmanninger et al. 2020)",
            "segmentation of the lungs on chest CT with COVID-19",
        ),
        Published(
            "LTRCLobes",
            "unet_ltrclobes-3a07043d.pth",
            "3a07043d",
            _LOBES,
            "chest CT of the Lung Tissue Research Consortium (Hofmanninger et al. 2020)",
            "segmentation of the lobes, here told by their lung, on chest CT with visible fissures",
        ),
    )
}


def install_published(
    home: Home, name: str, source: str, sha256: str | None, advance: Callable[[int], None]
) -> ModelBundle:
    """Install weights of one of lungmask's models from a file or URL.

    Parameters
    ----------
    name
        A key of `PUBLISHED`.
    sha256
        The digest to expect; None: the published file's.
    advance
        Called with the number of bytes that came.

    Raises
    ------
    WeightsMismatch
        The digest is another, the file is no weights, or of another network; nothing is installed.
    ConfigurationError
        The source cannot be read, or ``sha256`` is none.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ConfigurationError("--sha256 wants all 64 hex digits: 'sha256sum FILE' prints them.")
    published = PUBLISHED[name]
    expected = (sha256 or published.digits).lower()
    home.models.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.models, prefix=".install-") as scratch:
        file = Path(scratch) / "weights"
        digest = _fetch(source, file, advance)
        if not digest.startswith(expected):
            raise WeightsMismatch(
                f"the weights have the sha256 {digest}, expected was {expected}: nothing was installed. "
                f"The published ones are at {published.url}; for weights of your own give --sha256."
            )
        description = _description(published, digest)
        network = build_network(description["network"]["name"], description["network"]["arguments"])
        try:
            network.load_state_dict(read_state_dict(file))
        except RuntimeError as error:
            raise WeightsMismatch(
                f"the weights are not of {published.name}'s network: nothing was installed"
            ) from error
        folder = Path(scratch) / name
        write_bundle(folder, network, description, _card(description))
        return _put_in_place(folder, home.models / name, Path(scratch))


def install_bundle(home: Home, name: str, source: Path) -> ModelBundle:
    """Install a bundle of the site's own from its folder.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        It has another name, or one that is taken, or it is refused; nothing is installed.
    """
    if not is_model_name(name):
        raise ConfigurationError(f"{name} is no name of a model: letters, digits, '.', '_' and '-' make one.")
    if (shipped_models() / name).exists() or name in PUBLISHED:
        raise ConfigurationError(f"{name} is the name of another model: give yours a name of its own.")
    home.models.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.models, prefix=".install-") as scratch:
        folder = Path(scratch) / name
        for part in (METADATA, INFERENCE, TRAIN, WEIGHTS, CARD):
            if (source / part).is_file():
                (folder / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / part, folder / part)
        network_of(load_bundle(folder))
        return _put_in_place(folder, home.models / name, Path(scratch))


def _put_in_place(folder: Path, target: Path, scratch: Path) -> ModelBundle:
    if target.exists():
        target.rename(scratch / "replaced")
    folder.rename(target)
    return load_bundle(target)


def _fetch(source: str, target: Path, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    try:
        with _open(source) as incoming, target.open("wb") as file:
            while chunk := incoming.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                advance(len(chunk))
    except (urllib.error.URLError, OSError) as error:
        raise ConfigurationError(f"{source} cannot be read: {error}.") from None
    return digest.hexdigest()


def _open(source: str) -> IO[bytes]:
    if urllib.parse.urlsplit(source).scheme in {"http", "https"}:
        response: IO[bytes] = urllib.request.urlopen(source, timeout=_TIMEOUT_S)  # noqa: S310 (http and https alone)
        return response
    return Path(source).open("rb")


def _description(published: Published, source_sha256: str) -> dict[str, Any]:
    is_published = source_sha256.startswith(published.digits)
    return {
        "name": published.name,
        "version": f"lungmask {version('lungmask')}",
        "task": "lungs",
        "source_sha256": source_sha256,
        "training_data": published.training_data
        if is_published
        else f"unknown: not the published weights of {published.name}",
        "licence": "Apache-2.0 (lungmask)",
        "authors": "Johannes Hofmanninger and others",
        "copyright": "Copyright (c) the authors of lungmask",
        "intended_use": published.intended_use,
        "demonstration": False,
        "network": {"name": "lungmask-unet", "arguments": {"classes": len(published.classes)}},
        "input": {
            "shape_kji": [SIDE, SIDE],
            "spacing": "any: the body's box of each slice is resized to the shape",
            "window_hu": list(SLICE_WINDOW_HU),
            "region": "an axial slice, rows to posterior, columns to the left, cut to the body",
        },
        "output": {"meaning": "log-probability of each class for each pixel", "classes": list(published.classes)},
    }


def _card(description: dict[str, Any]) -> str:
    """Write the card of one of lungmask's models: what its publishers say, and what happened here."""
    classes = ", ".join(description["output"]["classes"])
    return f"""# {description["name"]}

{description["intended_use"].capitalize()}. Tells {classes} apart, slice by slice.

Hofmanninger J, Prayer F, Pan J, Röhrich S, Prosch H, Langs G. Automatic lung segmentation in routine imaging is
primarily a data diversity problem, not a methodology problem. Eur Radiol Exp 2020;4:50.

- Trained on: {description["training_data"]}
- Licence: {description["licence"]}
- Published file: sha256 {description["source_sha256"]}, converted to safetensors by `covnode models install`

Figures of accuracy are in the article; none was measured on this site's patients.
"""
