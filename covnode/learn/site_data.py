"""Rows of a manifest as network inputs: read, lungs found by rules, resampled as the node does; kept in a cache.

Comes from manifest; goes to fitting and evaluation. A volume is read once: its 2 MB lie in the cache folder by a
digest of its files' names, sizes and times, so that changed data are read anew.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covnode import __version__
from covnode.errors import ConfigurationError, SeriesUnusable
from covnode.imaging.resampling import NETWORK_SHAPE, network_input
from covnode.imaging.upright import lungs_upright
from covnode.infer.lungs import segment_lungs
from covnode.learn.manifest import Row
from covnode.learn.nifti import is_nifti, read_nifti
from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import CTVolume
from covnode.volume.loading import load_volume

Inputs = NDArray[np.float16]


def load_inputs(rows: tuple[Row, ...], cache: Path, told: Callable[[int], None]) -> Inputs:
    """Return float16 (n, 64, 128, 128), mapped from a nameless file: more than fits into memory can be trained on.

    Parameters
    ----------
    cache
        Made when absent.
    told
        Called with the number of volumes that are ready.

    Raises
    ------
    ConfigurationError
        A volume cannot be used; the message names its row's path and the reason.
    """
    cache.mkdir(parents=True, exist_ok=True)
    names = [_name(row.path) for row in rows]
    for done, (row, name) in enumerate(zip(rows, names, strict=True), start=1):
        kept = cache / f"{name}.npy"
        if not kept.exists():
            part = kept.with_suffix(".part")
            with part.open("wb") as file:
                np.save(file, _network_input(row.path))
            part.replace(kept)
        told(done)
    whole = cache / f"{hashlib.sha256('/'.join(names).encode()).hexdigest()[:32]}.stack"
    stacked = np.lib.format.open_memmap(whole, "w+", np.float16, (len(rows), *NETWORK_SHAPE))
    for index, name in enumerate(names):
        stacked[index] = np.load(cache / f"{name}.npy")
    whole.unlink()
    return stacked


def read_volume(path: Path) -> CTVolume:
    """Read a folder of DICOM files, or a NIfTI file.

    Raises
    ------
    SeriesUnusable, ConfigurationError
        As load_volume and read_nifti.
    """
    if is_nifti(path):
        return read_nifti(path)
    files = tuple(sorted(file for file in path.rglob("*") if file.is_file())) if path.is_dir() else (path,)
    return load_volume(DeidentifiedSeries(series_id=path.name, revision=1, files=files, input_sha256=""))


def _network_input(path: Path) -> Inputs:
    try:
        volume = read_volume(path)
        return network_input(volume, lungs_upright(segment_lungs)(volume)).astype(np.float16)
    except SeriesUnusable as error:
        raise ConfigurationError(f"{path} cannot be used: {error}") from None


def _name(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(f"{__version__}/{facts}".encode()).hexdigest()[:32]
