"""The lesions of a phantom: soft-edged blobs of ground glass and consolidation, and how much lung they fill.

Takes an Anatomy and points inside the lungs; gives Blobs in patient mm that phantom_slices blends into the lungs.
A blob covers a place by a weight 0..1, and truth counts the place from 0.5 on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.learn.phantom_anatomy import Field, Height, lobe_depth
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.volume import Lesion, Lung

Points = NDArray[np.float64]

# Share of both lungs that a preset affects, drawn evenly between the two.
AFFECTED_SHARE = {
    PhantomPreset.COVID_MILD: (0.04, 0.22),
    PhantomPreset.COVID_MODERATE: (0.22, 0.42),
    PhantomPreset.COVID_SEVERE: (0.42, 0.78),
    PhantomPreset.COVID_CRITICAL: (0.82, 0.94),
    PhantomPreset.CONSOLIDATION: (0.04, 0.13),
}

_LARGE_PATCHES = frozenset({PhantomPreset.COVID_SEVERE, PhantomPreset.COVID_CRITICAL})
_MOST_BLOBS = 160
_MOST_BLOBS_CRITICAL = 400


@dataclass(frozen=True)
class Blob:
    """One ellipsoid of changed lung, its edge roughened by the phantom's texture.

    Attributes
    ----------
    kind
        None: changed, but no lesion that counts.
    density_hu
        What the lung's density becomes in it.
    lower_lobe
        None: spreads freely; else stops at the oblique fissure and stays in (or out of) the lower lobe.
    side
        The only lung that it affects.
    """

    kind: Lesion | None
    centre_mm: tuple[float, float, float]
    axes_mm: tuple[float, float, float]
    edge_mm: float
    density_hu: float
    side: Lung
    lower_lobe: bool | None = None

    def weight(self, x: Field, y: Field, z: Height, rough: Height) -> Field:
        """Return the coverage 0..1 at x, y, z (mm); ``rough`` is texture of unit spread at the same places."""
        (cx, cy, cz), (ax, ay, az) = self.centre_mm, self.axes_mm
        rho = np.sqrt(((x - cx) / ax) ** 2 + ((y - cy) / ay) ** 2 + ((z - cz) / az) ** 2)
        size = min(ax, ay, az)
        depth = (1.0 - rho) * size + 0.16 * size * rough
        if self.lower_lobe is not None:
            behind = lobe_depth(y, z)
            depth = np.minimum(depth, behind if self.lower_lobe else -behind)
        weight: Field = np.clip(0.5 + depth / self.edge_mm, 0.0, 1.0).astype(np.float32)
        return weight


@dataclass(frozen=True)
class LungPoints:
    """Points spread evenly through one lung: float64 (n, 3) mm (x, y, z), depth_mm (n,) below its surface."""

    side: Lung
    points_mm: Points
    depth_mm: NDArray[np.float64]


def draw_lesions(preset: PhantomPreset, lungs: tuple[LungPoints, ...], rng: np.random.Generator) -> tuple[Blob, ...]:
    """Draw blobs until the preset's share of the lungs is affected; equal generators give equal lesions.

    Parameters
    ----------
    preset
        One of AFFECTED_SHARE.
    """
    goal = rng.uniform(*AFFECTED_SHARE[preset])
    points_mm = np.concatenate([lung.points_mm for lung in lungs])
    sides = np.concatenate([np.full(len(lung.points_mm), lung.side) for lung in lungs])
    depths_mm = np.concatenate([lung.depth_mm for lung in lungs])
    affected = np.zeros(len(points_mm), dtype=bool)
    blobs: list[Blob] = []
    side = Lung(int(rng.choice([Lung.RIGHT, Lung.LEFT])))
    lower_lobe = bool(rng.random() < 0.65)
    # Consolidation fills one lobe from anywhere inside; the patches of COVID lie near the pleura, more behind and
    # below than in front and above.
    x, y, z = _xyz(points_mm)
    in_lobe = (sides == side) & ((lobe_depth(y, z) > 0) == lower_lobe)
    peripheral = np.exp(-depths_mm / 9.0 + points_mm[:, 1] / 70.0 - points_mm[:, 2] / 120.0)
    lobar = preset is PhantomPreset.CONSOLIDATION
    most = _MOST_BLOBS_CRITICAL if preset is PhantomPreset.COVID_CRITICAL else _MOST_BLOBS
    while affected.mean() < goal and len(blobs) < most and not (lobar and affected[in_lobe].all()):
        odds = np.where(affected, 0.05, 1.0) * (in_lobe if lobar else peripheral * (sides == side))
        centre = points_mm[rng.choice(len(points_mm), p=odds / odds.sum())]
        new = [_lobar(centre, side, rng, lower_lobe=lower_lobe)] if lobar else _patch(preset, centre, side, rng)
        for blob in new:
            affected |= (blob.weight(x, y, z, 0.0) >= 0.5) & (sides == blob.side)
        blobs += new
        if not lobar:
            side = Lung.LEFT if side is Lung.RIGHT else Lung.RIGHT
    return tuple(blobs)


def _xyz(points: Points) -> tuple[Field, Field, Field]:
    x, y, z = points.T.astype(np.float32)
    return x, y, z


def _patch(preset: PhantomPreset, centre: Points, side: Lung, rng: np.random.Generator) -> list[Blob]:
    """One patch of ground glass, in severe disease often with a consolidated core."""
    severe = preset in _LARGE_PATCHES
    size = rng.uniform(16, 40) if severe else rng.uniform(9, 24)
    axes = size * rng.uniform(0.75, 1.3, size=3)
    place = (float(centre[0]), float(centre[1]), float(centre[2]))
    glass = Blob(
        kind=Lesion.GROUND_GLASS,
        centre_mm=place,
        axes_mm=(float(axes[0]), float(axes[1]), float(axes[2])),
        edge_mm=rng.uniform(4, 8),
        density_hu=rng.uniform(-600, -400),
        side=side,
    )
    if rng.random() > (0.45 if severe else 0.15):
        return [glass]
    core = axes * rng.uniform(0.35, 0.6)
    return [glass, _dense(place, core, side, rng)]


def _dense(place: tuple[float, float, float], axes: Points, side: Lung, rng: np.random.Generator) -> Blob:
    return Blob(
        kind=Lesion.CONSOLIDATION,
        centre_mm=place,
        axes_mm=(float(axes[0]), float(axes[1]), float(axes[2])),
        edge_mm=rng.uniform(2.0, 3.5),
        density_hu=rng.uniform(0, 50),
        side=side,
    )


def _lobar(centre: Points, side: Lung, rng: np.random.Generator, *, lower_lobe: bool) -> Blob:
    """One dense part of a lobe that stops at the fissure."""
    axes = rng.uniform(24, 40) * rng.uniform(0.85, 1.2, size=3)
    return Blob(
        kind=Lesion.CONSOLIDATION,
        centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        axes_mm=(float(axes[0]), float(axes[1]), float(axes[2])),
        edge_mm=rng.uniform(2.0, 3.5),
        density_hu=rng.uniform(10, 50),
        side=side,
        lower_lobe=lower_lobe,
    )
