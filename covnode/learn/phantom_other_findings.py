"""What a phantom shows that is not COVID-19: nodules, emphysema, and an effusion around the lung.

Takes points inside the lungs; gives Blobs that count as no lesion, and Effusions that phantom_slices takes from the
lungs. These are negatives of the classification: lungs that are dense or changed are not yet COVID-19.
"""

from dataclasses import dataclass

import numpy as np

from covnode.learn.phantom_anatomy import Anatomy, Field, Height
from covnode.learn.phantom_lesions import Blob, LungPoints
from covnode.records.volume import Lung

_NODULES = (3, 14)
_EMPHYSEMA_SHARE = (0.10, 0.40)
_MOST_BLOBS = 160


@dataclass(frozen=True)
class Effusion:
    """Fluid that lies behind one lung of a supine patient, thicker towards the diaphragm.

    Attributes
    ----------
    level_mm
        y of its surface at the hila (z = 0).
    slope
        How much further to the front the surface lies for each mm towards the diaphragm.
    """

    side: Lung
    level_mm: float
    slope: float
    density_hu: float

    def depth(self, y: Field, z: Height) -> Field:
        """Return the depth below the surface of the fluid in mm, positive in it."""
        depth: Field = np.asarray(y - (self.level_mm + self.slope * z), dtype=np.float32)
        return depth


def draw_effusions(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Effusion, ...]:
    """Draw fluid on one side or on both; equal generators give equal effusions."""
    sides = tuple(Lung) if rng.random() < 0.4 else (Lung(int(rng.choice(list(Lung)))),)
    return tuple(
        Effusion(
            side=side,
            level_mm=anatomy.half_depth_mm - rng.uniform(16, 46),
            slope=rng.uniform(0.1, 0.3),
            density_hu=rng.uniform(2, 20),
        )
        for side in sides
    )


def draw_nodules(lungs: tuple[LungPoints, ...], rng: np.random.Generator) -> tuple[Blob, ...]:
    """Draw round, sharply bordered, solid nodules of 8 to 26 mm anywhere in both lungs."""
    return tuple(_blob(lungs, rng, rng.uniform(4, 13), rng.uniform(10, 60)) for _ in range(rng.integers(*_NODULES)))


def draw_emphysema(lungs: tuple[LungPoints, ...], rng: np.random.Generator) -> tuple[Blob, ...]:
    """Draw rarefied lung, more in the upper lobes, until a share of the lungs drawn from 10 to 40 % is."""
    goal = rng.uniform(*_EMPHYSEMA_SHARE)
    volume_mm3 = 216.0 * sum(len(lung.points_mm) for lung in lungs)
    blobs: list[Blob] = []
    drawn_mm3 = 0.0
    while drawn_mm3 < goal * volume_mm3 and len(blobs) < _MOST_BLOBS:
        blobs.append(_blob(lungs, rng, rng.uniform(7, 26), rng.uniform(-985, -950), upper=True))
        drawn_mm3 += 4.19 * float(np.prod(blobs[-1].axes_mm))
    return tuple(blobs)


def _blob(
    lungs: tuple[LungPoints, ...], rng: np.random.Generator, radius_mm: float, density_hu: float, *, upper: bool = False
) -> Blob:
    lung = lungs[int(rng.integers(len(lungs)))]
    odds = np.exp(lung.points_mm[:, 2] / 60.0) if upper else np.ones(len(lung.points_mm))
    x, y, z = lung.points_mm[rng.choice(len(odds), p=odds / odds.sum())]
    axes = radius_mm * rng.uniform(0.85, 1.15, size=3)
    return Blob(
        kind=None,
        centre_mm=(float(x), float(y), float(z)),
        axes_mm=(float(axes[0]), float(axes[1]), float(axes[2])),
        edge_mm=rng.uniform(1.0, 3.0),
        density_hu=density_hu,
        side=lung.side,
    )
