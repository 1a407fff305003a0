"""Airways and lung vessels of a phantom: trees of tapering tubes, and their coverage of the voxels.

Takes an Anatomy and points inside a lung; gives tubes in patient mm and draws them into volumes of coverage that
phantom_slices blends. Knows no density.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.learn.phantom_anatomy import OUTWARD, Anatomy
from covnode.records.volume import Lung

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Tubes:
    """Straight tubes from start to end: float64 (n, 3) in mm (x, y, z), and (n,) radii in mm."""

    start_mm: Points
    end_mm: Points
    radius_mm: NDArray[np.float64]

    def larger_than(self, radius_mm: float) -> "Tubes":
        """Only the tubes of at least this radius."""
        keep = self.radius_mm >= radius_mm
        return Tubes(self.start_mm[keep], self.end_mm[keep], self.radius_mm[keep])


@dataclass(frozen=True)
class Grid:
    """Centres of the voxels along each axis in mm: float32 x (i), y (j), z (k), each evenly spaced and rising."""

    x_mm: NDArray[np.float32]
    y_mm: NDArray[np.float32]
    z_mm: NDArray[np.float32]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(k, j, i) distances of voxel centres."""
        z, y, x = self.z_mm, self.y_mm, self.x_mm
        return float(z[1] - z[0]), float(y[1] - y[0]), float(x[1] - x[0])


def hilum_mm(anatomy: Anatomy, side: Lung) -> NDArray[np.float64]:
    """Where bronchus and vessels enter a lung."""
    x, y, z = anatomy.carina_mm
    outward = -1.0 if side is Lung.RIGHT else 1.0
    return np.array(
        [x + outward * (anatomy.mediastinum_mm + 14.0), y + 4.0, z - (24.0 if side is Lung.RIGHT else 32.0)]
    )


def vessel_tree(root_mm: NDArray[np.float64], targets_mm: Points, leaf_mm: float) -> Tubes:
    """Grow a tree from the root to all targets; radii follow Murray's law.

    Each target, nearest to the root first, is joined to the closest node so far, so that the tree fills the lung
    evenly. r = leaf * leaves^(1/2.7): between Murray's exponent 3 and the 2.3 to 2.8 measured in lungs.

    Parameters
    ----------
    root_mm
        (3,) mm.
    targets_mm
        (n, 3) mm: where the leaves end.
    """
    order = np.argsort(np.linalg.norm(targets_mm - root_mm, axis=1))
    nodes = np.empty((len(targets_mm) * 16 + 1, 3))
    nodes[0] = root_mm
    parents = [-1]
    leaves = []
    for target in targets_mm[order]:
        count = len(parents)
        parent = int(np.argmin(((nodes[:count] - target) ** 2).sum(axis=1)))
        start = nodes[parent].copy()
        way = target - start
        sideways = 0.08 * way[[2, 0, 1]]
        steps = int(np.clip(np.linalg.norm(way) // 9.0 + 1, 1, 15))
        for step in range(1, steps + 1):
            # The path sags a little, so that no vessel is a ruler's line.
            nodes[len(parents)] = start + way * (step / steps) + math.sin(math.pi * step / steps) * sideways
            parents.append(parent if step == 1 else len(parents) - 1)
        leaves.append(len(parents) - 1)
    weight = np.zeros(len(parents))
    weight[leaves] = 1.0
    for node in range(len(parents) - 1, 0, -1):
        weight[parents[node]] += weight[node]
    children = np.arange(1, len(parents))
    radius = np.minimum(leaf_mm * weight[children] ** (1 / 2.7), 7.0)
    return Tubes(nodes[np.asarray(parents[1:])], nodes[children], radius)


def airways(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Tubes, Tubes]:
    """Draw the airways: (trachea, main and lobar bronchi), (segmental bronchi); radii are of the lumen."""
    carina = np.asarray(anatomy.carina_mm)
    top = carina + np.array([2.0, -8.0, 170.0 - carina[2]])
    central = [(top, carina, rng.uniform(7.5, 9.5))]
    segmental = []
    for side in Lung:
        hilum = hilum_mm(anatomy, side)
        outward = np.array([OUTWARD[side], 0.0, 0.0])
        central.append((carina, hilum, 6.5 if side is Lung.RIGHT else 5.5))
        for rise in (34.0, -4.0, -34.0):
            lobar = hilum + 16.0 * outward + np.array([0.0, rng.uniform(-14, 14) - 0.2 * rise, 0.6 * rise])
            central.append((hilum, lobar, 3.6))
            for _ in range(3):
                way = np.array([0.0, rng.uniform(-26, 26), 0.7 * rise]) + rng.uniform(10, 26) * outward
                segmental.append((lobar, lobar + way, 1.9))
    return _tubes(central), _tubes(segmental)


def _tubes(parts: list[tuple[NDArray[np.float64], NDArray[np.float64], float]]) -> Tubes:
    starts, ends, radii = zip(*parts, strict=True)
    return Tubes(np.array(starts), np.array(ends), np.array(radii, dtype=np.float64))


def coverage(grid: Grid, tubes: Tubes) -> NDArray[np.uint8]:
    """Share of each voxel that lies in the tubes, 0..255, shape (k, j, i).

    A tube thinner than a voxel is drawn one voxel wide and fainter by its cross-section, as partial volume does.
    """
    volume = np.zeros((len(grid.z_mm), len(grid.y_mm), len(grid.x_mm)), dtype=np.uint8)
    spacing_mm = np.array(grid.spacing_mm[::-1])
    first_mm = np.array([grid.x_mm[0], grid.y_mm[0], grid.z_mm[0]], dtype=np.float64)
    pixel_mm = float(spacing_mm[0])
    drawn_mm = np.maximum(tubes.radius_mm, 0.55 * pixel_mm)
    strength = 255.0 * (tubes.radius_mm / drawn_mm) ** 2
    # The box holds the soft edge, and at least the voxels next to a tube that runs between two slices.
    reach = (drawn_mm + 0.5 * pixel_mm)[:, None]
    low = np.ceil((np.minimum(tubes.start_mm, tubes.end_mm) - reach - first_mm) / spacing_mm).astype(int)
    high = np.floor((np.maximum(tubes.start_mm, tubes.end_mm) + reach - first_mm) / spacing_mm).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, volume.shape[::-1])
    for index in np.flatnonzero((high > low).all(axis=1)):
        (i0, j0, k0), (i1, j1, k1) = low[index], high[index]
        x = grid.x_mm[i0:i1] - tubes.start_mm[index, 0]
        y = grid.y_mm[j0:j1, None] - tubes.start_mm[index, 1]
        z = grid.z_mm[k0:k1, None, None] - tubes.start_mm[index, 2]
        way = tubes.end_mm[index] - tubes.start_mm[index]
        along = np.clip((x * way[0] + y * way[1] + z * way[2]) / (way @ way + 1e-9), 0.0, 1.0)
        distance_mm = np.sqrt((x - along * way[0]) ** 2 + (y - along * way[1]) ** 2 + (z - along * way[2]) ** 2)
        share = np.clip((drawn_mm[index] - distance_mm) / pixel_mm + 0.5, 0.0, 1.0) * strength[index]
        box = volume[k0:k1, j0:j1, i0:i1]
        np.maximum(box, share.astype(np.uint8), out=box)
    return volume
