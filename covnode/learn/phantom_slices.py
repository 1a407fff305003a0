"""One slice of a phantom: the formulas of the thorax become ideal densities and true labels.

Takes an Anatomy, blobs and the coverage of airways and vessels; gives ideal HU (before blur and noise) and labels
to phantom.make_phantom.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.learn.phantom_anatomy import (
    Anatomy,
    Field,
    body_depth,
    cage_depth,
    heart_depth,
    lung_depth,
    on_side,
    spine_depth,
)
from covnode.learn.phantom_lesions import Blob
from covnode.learn.phantom_other_findings import Effusion
from covnode.learn.phantom_scanner import Texture
from covnode.learn.phantom_tubes import Grid
from covnode.records.volume import Lesion, Lung

AIR_HU = -1000.0
FAT_HU = -100.0
MUSCLE_HU = 50.0


@dataclass(frozen=True)
class Inside:
    """What fills the lungs and lies around them: coverage volumes 0..255, shape (k, j, i), blobs and effusions."""

    vessels: NDArray[np.uint8]
    lumen: NDArray[np.uint8]
    airway_wall: NDArray[np.uint8]
    central_airway: NDArray[np.uint8]
    blobs: tuple[Blob, ...]
    effusions: tuple[Effusion, ...] = ()


@dataclass(frozen=True)
class Slice:
    """Ideal HU (float32) and labels of one slice, each (j, i)."""

    ideal_hu: Field
    lung_labels: NDArray[np.uint8]
    lesion_labels: NDArray[np.uint8]


class SliceMaker:
    """Makes the slices of one phantom."""

    def __init__(self, anatomy: Anatomy, grid: Grid, inside: Inside, texture: Texture) -> None:
        self._anatomy = anatomy
        self._inside = inside
        self._texture = texture
        self._x = grid.x_mm[None, :]
        self._y = grid.y_mm[:, None]
        self._z_mm = grid.z_mm
        self._pixel_mm = grid.spacing_mm[1]

    def make(self, k: int) -> Slice:
        """Make slice k."""
        z = float(self._z_mm[k])
        texture = self._texture.at(k)
        cage = cage_depth(self._anatomy, self._x, self._y, z)
        hu = self._chest_wall(cage, z)
        self._organs(hu, cage, z)
        labels, parenchyma, share = self._lungs(hu, cage, z, texture)
        lesions, parenchyma = self._lesions(k, parenchyma, texture)
        hu += share * (parenchyma - hu)
        blood = self._inside.vessels[k] * (share / 255.0)
        hu += blood * (self._anatomy.blood_hu - hu)
        hu += self._inside.airway_wall[k] * np.float32(1 / 255.0) * (30.0 - hu)
        hu += self._inside.lumen[k] * np.float32(1 / 255.0) * (AIR_HU - hu)
        self._table(hu)
        central = self._inside.central_airway[k] >= 128
        labels[central] = 0
        lesions[labels == 0] = 0
        return Slice(hu, labels, lesions)

    def _share(self, depth: Field) -> Field:
        """Share of a voxel inside a surface, by the depth of its centre."""
        share: Field = np.clip(depth / np.float32(self._pixel_mm) + np.float32(0.5), 0.0, 1.0)
        return share

    def _paint(self, hu: Field, depth: Field, density_hu: float) -> None:
        hu += self._share(depth) * (np.float32(density_hu) - hu)

    def _chest_wall(self, cage: Field, z: float) -> Field:
        """Air, skin, fat, muscle, ribs and sternum around the cage."""
        anatomy, x, y = self._anatomy, self._x, self._y
        skin = body_depth(anatomy, x, y, z)
        hu = np.full(skin.shape, AIR_HU, dtype=np.float32)
        self._paint(hu, skin, 10.0)
        self._paint(hu, skin - 2.0, FAT_HU)
        self._paint(hu, skin - anatomy.fat_mm, MUSCLE_HU)
        # Each rib goes down to the front: a slanted band of the shell outside the cage.
        pitch = anatomy.rib_pitch_mm
        band = np.abs(np.mod((z - 0.42 * y + anatomy.rib_phase_mm) / pitch, 1.0) - 0.5) * pitch
        shell = 4.5 - np.abs(cage + 6.5)
        bone = np.minimum(shell, 6.0 - band).astype(np.float32)
        front = (y < 0) & (np.abs(x) < 0.42 * anatomy.half_width_mm)
        self._paint(hu, np.where(front, np.float32(-5.0), bone), 520.0)
        self._paint(hu, np.where(front, np.float32(-5.0), bone - 2.0), 180.0)
        self._paint(hu, np.where(front, bone, np.float32(-5.0)), 110.0)
        in_front = -anatomy.half_depth_mm * (0.35 + 0.65 * np.sqrt(1 - np.clip((z + 50) / 190, 0, 0.99) ** 2.6))
        sternum = np.minimum(17.0 - np.abs(x), 5.0 - np.abs(y - in_front + 8.0)).astype(np.float32)
        if -70.0 < z < 105.0:
            self._paint(hu, sternum, 350.0)
            self._paint(hu, sternum - 2.0, 130.0)
        return hu

    def _organs(self, hu: Field, cage: Field, z: float) -> None:
        """Mediastinum, heart, great vessels, spine, and what lies below the diaphragm."""
        anatomy, x, y = self._anatomy, self._x, self._y
        self._paint(hu, cage, 35.0)
        fat = np.minimum(np.minimum(cage - 4.0, 20.0 - np.abs(x)), -y - 20.0).astype(np.float32)
        if z > -20.0:
            self._paint(hu, fat, -85.0)
        liver_or_spleen = np.where(x < 15.0, np.float32(62.0), np.float32(48.0))
        below = self._share(np.minimum(cage - 3.0, np.float32(anatomy.dome_mm[Lung.RIGHT] - 8.0 - z)))
        hu += below * (liver_or_spleen - hu)
        heart = heart_depth(anatomy, x, y, z)
        self._paint(hu, heart, 10.0)
        self._paint(hu, heart - 4.0, anatomy.blood_hu)
        self._paint(hu, (12.5 - np.hypot(x - 20.0, y - anatomy.spine_y_mm + 16.0)).astype(np.float32), anatomy.blood_hu)
        if z > anatomy.heart_centre_mm[2]:
            vena_cava = 9.5 - np.hypot(x + 20.0, y + 6.0)
            self._paint(hu, vena_cava.astype(np.float32), anatomy.blood_hu)
            arch = 14.0 - np.hypot(x + 4.0, y + 16.0) if z < 55.0 else 11.0 - np.hypot(x - 12.0, y - 4.0)
            self._paint(hu, arch.astype(np.float32), anatomy.blood_hu)
        if anatomy.stomach_gas_mm > 0.0:
            height = z - anatomy.dome_mm[Lung.LEFT] + 42.0
            gas = anatomy.stomach_gas_mm - np.sqrt((x - 52.0) ** 2 + (y + 22.0) ** 2 + height**2)
            self._paint(hu, gas.astype(np.float32), AIR_HU)
        self._spine(hu, z)

    def _spine(self, hu: Field, z: float) -> None:
        x, y = self._x, self._y
        body = spine_depth(self._anatomy, x, y) - 4.0
        disc = abs((z / 24.0) % 1.0 - 0.5) > 0.38
        self._paint(hu, body, 80.0 if disc else 420.0)
        self._paint(hu, body - 2.0, 85.0 if disc else 170.0)
        behind = y - self._anatomy.spine_y_mm
        process = np.minimum(4.0 - np.abs(x), 17.0 - np.abs(behind - 30.0)).astype(np.float32)
        transverse = np.minimum(38.0 - np.abs(x), 5.0 - np.abs(behind - 22.0)).astype(np.float32)
        self._paint(hu, process, 350.0)
        if not disc:
            self._paint(hu, transverse, 380.0)
        self._paint(hu, (8.0 - np.hypot(x, behind - 27.0)).astype(np.float32), 30.0)

    def _lungs(self, hu: Field, cage: Field, z: float, texture: Field) -> tuple[NDArray[np.uint8], Field, Field]:
        """Paint effusions; return labels, parenchyma in HU, and the share of each voxel that is lung."""
        anatomy, x, y = self._anatomy, self._x, self._y
        labels = np.zeros(cage.shape, dtype=np.uint8)
        share = np.zeros(cage.shape, dtype=np.float32)
        for side in Lung:
            depth = lung_depth(anatomy, cage, x, y, z, side)
            for effusion in self._inside.effusions:
                if effusion.side == side:
                    fluid = effusion.depth(y, z)
                    self._paint(hu, np.minimum(depth, fluid), effusion.density_hu)
                    depth = np.minimum(depth, -fluid)
            labels[depth > 0] = side
            np.maximum(share, self._share(depth), out=share)
        # Blood and weight make the dependent (posterior) lung denser.
        parenchyma = anatomy.lung_hu + 45.0 * (y / anatomy.half_depth_mm) + 16.0 * texture
        return labels, parenchyma.astype(np.float32), share

    def _lesions(self, k: int, parenchyma: Field, texture: Field) -> tuple[NDArray[np.uint8], Field]:
        """Return labels and the parenchyma with the blobs in it; the denser blob wins where several meet.

        Emphysema is all that a blob may be rarer by: there the rarer one wins.
        """
        labels = np.zeros(parenchyma.shape, dtype=np.uint8)
        z = float(self._z_mm[k])
        result = parenchyma.copy()
        for blob in self._inside.blobs:
            box = self._box(blob, z)
            if box is None:
                continue
            weight = blob.weight(self._x[:, box[1]], self._y[box[0]], z, texture[box])
            weight[:, on_side(self._x[0, box[1]], blob.side) < 0] = 0.0
            grain = blob.density_hu + (25.0 if blob.kind is Lesion.GROUND_GLASS else 6.0) * texture[box]
            wins = np.minimum if blob.density_hu < self._anatomy.lung_hu else np.maximum
            wins(result[box], parenchyma[box] + weight * (grain - parenchyma[box]), out=result[box])
            kind = np.uint8(0 if blob.kind is None else blob.kind)
            labels[box] = np.maximum(labels[box], np.where(weight >= 0.5, kind, np.uint8(0)))
        return labels, result

    def _box(self, blob: Blob, z: float) -> tuple[slice, slice] | None:
        """Rows and columns that the blob may reach in the slice at z."""
        (cx, cy, cz), axes = blob.centre_mm, blob.axes_mm
        # The rough edge adds up to about 0.16 * 4 spreads of the smallest axis, the soft edge half its width.
        grown = 1.7 + blob.edge_mm / min(axes)
        if abs(z - cz) > axes[2] * grown:
            return None
        columns = np.flatnonzero(np.abs(self._x[0] - cx) <= axes[0] * grown)
        rows = np.flatnonzero(np.abs(self._y[:, 0] - cy) <= axes[1] * grown)
        if len(columns) == 0 or len(rows) == 0:
            return None
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def _table(self, hu: Field) -> None:
        """Paint the couch below the back: a curved shell with foam inside, where there is air."""
        anatomy, x, y = self._anatomy, self._x, self._y
        top = anatomy.half_depth_mm + 0.8 * anatomy.wall_mm + 4.0
        depth = 14.0 - np.abs(y - top - 14.0 + 0.0011 * x**2)
        couch = np.minimum(depth, 0.86 * anatomy.half_width_mm + 20.0 - np.abs(x)).astype(np.float32)
        couch[hu > -900.0] = -5.0
        self._paint(hu, couch, -150.0)
        couch -= 2.5
        self._paint(hu, couch, -900.0)
