"""Phantoms as examples of the demonstration models: network inputs with labels and scores.

Makes phantoms, finds their lungs and resamples them exactly as the node does; goes to fitting. Training needs only the
small matrix: after resampling it shows what 512 x 512 would show.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from covnode.imaging.resampling import resample_lungs
from covnode.infer.lungs import segment_lungs
from covnode.learn.phantom import Phantom, PhantomPreset, Protocol, make_phantom
from covnode.records.result import Acquisition
from covnode.records.volume import CTVolume, InPlane

PRESETS = tuple(PhantomPreset)
COVID_PRESETS = frozenset(
    {
        PhantomPreset.COVID_MILD,
        PhantomPreset.COVID_MODERATE,
        PhantomPreset.COVID_SEVERE,
        PhantomPreset.COVID_CRITICAL,
    }
)
_SIZE = 192
_SLICES = (48, 80)

Example = tuple[NDArray[np.float16], bool, float]


@dataclass(frozen=True)
class Examples:
    """Network inputs with what they should answer.

    Attributes
    ----------
    inputs
        float16, (n, 64, 128, 128); half precision holds a step of the window's 1400 HU far below the noise.
    is_covid
        bool, (n,).
    affected_percent
        float32, (n,): truth, 100 * affected voxels / lung voxels of both lungs.
    """

    inputs: NDArray[np.float16]
    is_covid: NDArray[np.bool_]
    affected_percent: NDArray[np.float32]


def phantom_volume(phantom: Phantom) -> CTVolume:
    """Return a phantom as the volume that the node would load from its files; it has no frames."""
    return CTVolume(
        voxels_hu=phantom.voxels_hu,
        affine_lps_mm=phantom.affine_lps_mm,
        spacing_mm=phantom.spacing_mm,
        frames=(),
        in_plane=InPlane(transpose=False, flip_j=False, flip_i=False),
        acquisition=Acquisition(),
    )


def affected_percent(phantom: Phantom) -> float:
    """Truth of both lungs: 100 * affected voxels / lung voxels."""
    return 100.0 * np.count_nonzero(phantom.lesion_labels) / np.count_nonzero(phantom.lung_labels)


def training_protocol(rng: np.random.Generator) -> tuple[int, Protocol]:
    """Draw the number of slices, and how a phantom of the training is scanned."""
    slices = int(rng.integers(*_SLICES, endpoint=True))
    return slices, Protocol(noise=rng.uniform(0.6, 1.5), sharpness=rng.uniform(0.85, 1.2))


def make_example(numbered_seed: tuple[int, int]) -> Example:
    """Make one example of (number, seed): the presets in turn by the number.

    Every second round of presets has the lungs that the node's own weight-free segmentation finds, the others the true
    ones, as a trained segmentation comes near them: the models must work behind both.
    """
    number, seed = numbered_seed
    preset = PRESETS[number % len(PRESETS)]
    slices, protocol = training_protocol(np.random.default_rng([seed, 20261128]))
    phantom = make_phantom(preset, seed=seed, slices=slices, size=_SIZE, protocol=protocol)
    own = (number // len(PRESETS)) % 2 == 0
    lungs = segment_lungs(phantom_volume(phantom)).labels if own else phantom.lung_labels
    resampled = resample_lungs(phantom.voxels_hu, lungs)
    return resampled.astype(np.float16), preset in COVID_PRESETS, affected_percent(phantom)


def make_examples(seeds: range, processes: int) -> Iterator[Example]:
    """Make one example a seed, in their order; they do not depend on the number of processes."""
    # Spawned: a fork would inherit torch's threads, and their locks with them.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(make_example, enumerate(seeds))


def stack_examples(seeds: range, processes: int) -> Examples:
    """Return all examples of the seeds in memory, about 2 MB each."""
    inputs, is_covid, affected = zip(*make_examples(seeds, processes), strict=True)
    return Examples(np.stack(inputs), np.array(is_covid), np.array(affected, dtype=np.float32))
