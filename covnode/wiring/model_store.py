"""The models that the node can use: shipped ones, and those that the site installed in the home folder."""

import hashlib
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

import tomlkit

from covnode.errors import ConfigurationError, WeightsMismatch
from covnode.home import Home
from covnode.infer.bundles import MANIFEST, ModelBundle, load_bundle
from covnode.store.engine import data_folder

R231_FOLDER = "r231"
R231_PUBLISHED_DIGITS = "d5d2fc3d"
"""First digits of the sha256 of unet_r231-d5d2fc3d.pth, as its publishers put them into its name."""

_CHUNK_BYTES = 1 << 20
_WEIGHTS = "weights.pth"
_TIMEOUT_S = 60


@dataclass(frozen=True)
class KnownModel:
    """A bundle and whether the site installed it itself."""

    bundle: ModelBundle
    installed: bool


def shipped_models() -> Path:
    """Return the folder of the models that ship with covnode."""
    return data_folder("models")


def model_folders(home: Home) -> dict[Path, bool]:
    """Return each model's folder, and whether the site installed it."""
    places = {shipped_models(): False, home.models: True}
    return {
        manifest.parent: installed
        for place, installed in places.items()
        for manifest in sorted(place.glob(f"*/{MANIFEST}"))
    }


def known_models(home: Home) -> list[KnownModel]:
    """Load and verify every model.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        A manifest is invalid or weights are not its own.
    """
    return [KnownModel(load_bundle(folder), installed) for folder, installed in model_folders(home).items()]


def install_r231(home: Home, source: str, sha256: str | None, advance: Callable[[int], None]) -> ModelBundle:
    """Install lungmask's weights of R231 from a file or URL.

    Parameters
    ----------
    sha256
        The digest to expect; None: the published file's.
    advance
        Called with the number of bytes that came.

    Raises
    ------
    WeightsMismatch
        The digest is another; nothing is installed.
    ConfigurationError
        The source cannot be read.
    """
    expected = (sha256 or R231_PUBLISHED_DIGITS).lower()
    home.models.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.models, prefix=".install-") as scratch:
        folder = Path(scratch) / R231_FOLDER
        folder.mkdir()
        digest = _fetch(source, folder / _WEIGHTS, advance)
        if not digest.startswith(expected):
            raise WeightsMismatch(
                f"the weights have the sha256 {digest}, expected was {expected}: nothing was installed. "
                "For weights of your own give --sha256."
            )
        (folder / MANIFEST).write_text(_r231_manifest(digest), encoding="utf-8")
        bundle = load_bundle(folder)
        target = home.models / R231_FOLDER
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return ModelBundle(target, bundle.manifest)


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


def _r231_manifest(sha256: str) -> str:
    published = sha256.startswith(R231_PUBLISHED_DIGITS)
    return tomlkit.dumps(
        {
            "name": "R231",
            "version": f"lungmask {version('lungmask')}",
            "task": "lungs",
            "weights": _WEIGHTS,
            "sha256": sha256,
            "training_data": "231 chest CT of routine care (Hofmanninger et al. 2020)"
            if published
            else "unknown: not the published weights of R231",
            "licence": "Apache-2.0 (lungmask)",
            "intended_use": "segmentation of the lungs on chest CT, also with severe disease",
            "demonstration": False,
            "network": {"name": "lungmask-unet"},
            "input": {"spacing": "any; each slice is resized to 256 x 256 by lungmask", "region": "axial slices"},
            "output": {"meaning": "0 background, 1 right lung, 2 left lung"},
        }
    )
