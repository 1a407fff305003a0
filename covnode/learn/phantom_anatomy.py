"""The thorax of a phantom as formulas: body, lungs, heart, diaphragm, bones, in patient millimetres.

Drawn from a random generator by phantom.make_phantom; evaluated slice by slice (z a number) or on points.
Frame: x to the patient's left, y to posterior, z to superior, origin in the middle of the chest, mm. Every
``*_depth`` is positive inside and roughly the distance to the surface in mm. No voxel is written here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covnode.records.volume import Lung

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Anatomy:
    """The sizes of one thorax, in mm, and what its blood and noise are like.

    Attributes
    ----------
    half_width_mm, half_depth_mm
        Of the rib cage's inner side at its widest.
    wall_mm, fat_mm
        Thickness of the chest wall and of the fat below the skin.
    apex_mm, dome_mm
        z of the lung apices, and of the diaphragm's domes by side (the right one is higher: the liver).
    blood_hu
        Density of blood: enhanced when a contrast agent was given.
    """

    half_width_mm: float
    half_depth_mm: float
    wall_mm: float
    fat_mm: float
    apex_mm: float
    dome_mm: dict[Lung, float]
    dome_drop_mm: float
    mediastinum_mm: float
    heart_centre_mm: tuple[float, float, float]
    heart_axes_mm: tuple[float, float, float]
    carina_mm: tuple[float, float, float]
    rib_pitch_mm: float
    rib_phase_mm: float
    stomach_gas_mm: float
    lung_hu: float
    blood_hu: float
    noise_hu: float

    @property
    def spine_y_mm(self) -> float:
        """y of the centre of the vertebral bodies."""
        return self.half_depth_mm - 12.0

    @property
    def field_of_view_mm(self) -> float:
        """Edge of the square image: the body and a margin of air."""
        return 2.16 * (self.half_width_mm + self.wall_mm) + 8.0


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one thorax; equal generators give equal thoraces."""
    build = rng.uniform(0.95, 1.06)
    half_width_mm = build * rng.uniform(124, 134)
    half_depth_mm = build * rng.uniform(82, 92)
    dome_mm = -rng.uniform(38, 52)
    contrast = rng.random() < 0.25
    return Anatomy(
        half_width_mm=half_width_mm,
        half_depth_mm=half_depth_mm,
        wall_mm=rng.uniform(28, 40),
        fat_mm=rng.uniform(7, 16),
        apex_mm=rng.uniform(116, 128),
        dome_mm={Lung.RIGHT: dome_mm, Lung.LEFT: dome_mm - rng.uniform(8, 18)},
        dome_drop_mm=rng.uniform(52, 66),
        mediastinum_mm=rng.uniform(20, 26),
        heart_centre_mm=(rng.uniform(22, 32), -0.30 * half_depth_mm, dome_mm + rng.uniform(2, 12)),
        heart_axes_mm=(rng.uniform(54, 62), rng.uniform(42, 49), rng.uniform(52, 60)),
        carina_mm=(rng.uniform(-5, 0), 0.12 * half_depth_mm, rng.uniform(24, 38)),
        rib_pitch_mm=rng.uniform(23, 27),
        rib_phase_mm=rng.uniform(0, 25),
        stomach_gas_mm=rng.uniform(10, 22) if rng.random() < 0.4 else 0.0,
        lung_hu=rng.uniform(-875, -830),
        blood_hu=rng.uniform(140, 260) if contrast else rng.uniform(35, 50),
        noise_hu=rng.uniform(10, 24),
    )


def _radial_depth(x: Field, y: Field, half_x: Field | float, half_y: Field | float) -> Field:
    """Distance along the ray from the centre to a superellipse of exponent 2.5 (a chest's outline)."""
    rho = np.maximum((np.abs(x / half_x) ** 2.5 + np.abs(y / half_y) ** 2.5) ** 0.4, 1e-3)
    depth: Field = np.hypot(x, y) * (1.0 / rho - 1.0)
    # On the axis of the body the ray has no direction: any depth there is deep enough.
    return np.where(rho < 0.05, np.float32(60.0), depth).astype(np.float32)


def body_depth(anatomy: Anatomy, x: Field, y: Field, z: Field | float) -> Field:
    """Depth below the skin; the shoulders are a little wider than the waist."""
    wider = 1.0 + 0.03 * np.tanh((z - 60.0) / 40.0)
    half_width = (anatomy.half_width_mm + anatomy.wall_mm) * wider
    return _radial_depth(x, y, half_width, anatomy.half_depth_mm + 0.8 * anatomy.wall_mm)


def cage_depth(anatomy: Anatomy, x: Field, y: Field, z: Field | float) -> Field:
    """Depth inside the rib cage's inner side, which closes towards the apices."""
    rise = np.clip((z + 50.0) / (anatomy.apex_mm + 58.0), 0.0, 0.999)
    narrow = np.sqrt(1.0 - rise**2.6)
    half_depth = anatomy.half_depth_mm * (0.35 + 0.65 * narrow)
    return _radial_depth(x, y, np.float32(anatomy.half_width_mm * narrow + 4.0), np.float32(half_depth))


def heart_depth(anatomy: Anatomy, x: Field, y: Field, z: Field | float) -> Field:
    """Depth inside the heart: an ellipsoid whose apex points left, forwards and down."""
    cx, cy, cz = anatomy.heart_centre_mm
    ax, ay, az = anatomy.heart_axes_mm
    u, v, w = x - cx, y - cy, z - cz
    long, across = 0.88 * u - 0.47 * v, 0.47 * u + 0.88 * v
    rho = np.sqrt((long / ax) ** 2 + (across / ay) ** 2 + ((w + 0.25 * long) / az) ** 2)
    return np.asarray((1.0 - rho) * ay, dtype=np.float32)


def spine_depth(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Depth inside the vertebral body with the soft tissue beside it."""
    return np.asarray(24.0 - np.hypot(x / 1.1, y - anatomy.spine_y_mm), dtype=np.float32)


def lung_depth(anatomy: Anatomy, cage: Field, x: Field, y: Field, z: Field | float, side: Lung) -> Field:
    """Depth inside one lung: the cage less mediastinum, heart, spine and the dome of the diaphragm.

    Parameters
    ----------
    cage
        cage_depth at the same places: shared by both lungs.
    """
    outward = -1.0 if side is Lung.RIGHT else 1.0
    middle = 2.0
    # The mediastinum is widest at the hila and almost closed in front of the heart and behind the sternum.
    half = anatomy.mediastinum_mm * (0.30 + 0.70 * np.exp(-(((y - 8.0) / (0.55 * anatomy.half_depth_mm)) ** 2)))
    from_middle = outward * (x - middle) - half
    side_centre = outward * 0.52 * anatomy.half_width_mm
    bowl = ((x - side_centre) / (0.62 * anatomy.half_width_mm)) ** 2 + (
        (y + 0.15 * anatomy.half_depth_mm) / (1.05 * anatomy.half_depth_mm)
    ) ** 2
    above_dome = 0.72 * (z - anatomy.dome_mm[side] + anatomy.dome_drop_mm * bowl)
    below_apex = 0.8 * (anatomy.apex_mm - z)
    depth = np.minimum(np.minimum(cage - 2.0, from_middle), np.minimum(above_dome, below_apex))
    depth = np.minimum(depth, -heart_depth(anatomy, x, y, z) - 1.5)
    return np.asarray(np.minimum(depth, -spine_depth(anatomy, x, y)), dtype=np.float32)


def lobe_depth(x: Field, y: Field, z: Field | float) -> Field:
    """Distance behind and below the oblique fissure: positive in a lower lobe."""
    return np.asarray(0.66 * (y - 4.0) - 0.75 * (z + 6.0) + 0.0 * x, dtype=np.float32)
