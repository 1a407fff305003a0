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
# A z that is one number for a slice, or one for each point.
Height = NDArray[np.floating] | float

# The sign of x (to the patient's left) on the way out of the chest.
OUTWARD = {Lung.RIGHT: -1.0, Lung.LEFT: 1.0}


@dataclass(frozen=True)
class Anatomy:
    """The sizes of one thorax, in mm, and what its blood and noise are like.

    Attributes
    ----------
    half_width_mm, half_depth_mm
        Of the rib cage's inner side at its widest.
    wall_mm, fat_mm
        Thickness of the chest wall and of the fat below the skin.
    mediastinum_mm, junction_mm
        Half widths at the hila, and in front of the heart where only two layers of pleura part the lungs.
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
    junction_mm: float
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
        """Position of the centre of the vertebral bodies, to posterior."""
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
        junction_mm=rng.uniform(1.5, 6.0),
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


def _radial_depth(x: Field, y: Field, half_x_mm: Height, half_y_mm: Height) -> Field:
    """Distance along the ray from the centre to a superellipse of exponent 2.5 (a chest's outline)."""
    rho = np.maximum((np.abs(x / half_x_mm) ** 2.5 + np.abs(y / half_y_mm) ** 2.5) ** 0.4, 1e-3)
    depth = np.hypot(x, y) * (1.0 / rho - 1.0)
    # On the axis of the body the ray has no direction: any depth there is deep enough.
    return _field(np.where(rho < 0.05, 60.0, depth))


def _field(values: NDArray[np.floating]) -> Field:
    return values.astype(np.float32, copy=False)


def body_depth(anatomy: Anatomy, x: Field, y: Field, z: Height) -> Field:
    """Depth below the skin; the shoulders are a little wider than the waist."""
    wider = 1.0 + 0.03 * np.tanh((z - 60.0) / 40.0)
    half_width = (anatomy.half_width_mm + anatomy.wall_mm) * wider
    return _radial_depth(x, y, half_width, anatomy.half_depth_mm + 0.8 * anatomy.wall_mm)


def cage_depth(anatomy: Anatomy, x: Field, y: Field, z: Height) -> Field:
    """Depth inside the rib cage's inner side, which closes towards the apices."""
    rise = np.clip((z + 50.0) / (anatomy.apex_mm + 58.0), 0.0, 0.999)
    narrow = np.sqrt(1.0 - rise**2.6)
    return _radial_depth(x, y, anatomy.half_width_mm * narrow + 4.0, anatomy.half_depth_mm * (0.35 + 0.65 * narrow))


def heart_depth(anatomy: Anatomy, x: Field, y: Field, z: Height) -> Field:
    """Depth inside the heart: an ellipsoid whose apex points left, forwards and down."""
    cx, cy, cz = anatomy.heart_centre_mm
    ax, ay, az = anatomy.heart_axes_mm
    u, v, w = x - cx, y - cy, z - cz
    long, across = 0.88 * u - 0.47 * v, 0.47 * u + 0.88 * v
    rho = np.sqrt((long / ax) ** 2 + (across / ay) ** 2 + ((w + 0.25 * long) / az) ** 2)
    return _field((1.0 - rho) * ay)


def spine_depth(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Depth inside the vertebral body with the soft tissue beside it."""
    return _field(24.0 - np.hypot(x / 1.1, y - anatomy.spine_y_mm))


def lung_depth(anatomy: Anatomy, cage: Field, x: Field, y: Field, z: Height, side: Lung) -> Field:
    """Depth inside one lung: the cage less mediastinum, heart, spine and the dome of the diaphragm.

    Parameters
    ----------
    cage
        cage_depth at the same places: shared by both lungs.
    """
    # The mediastinum is widest at the hila and almost closed in front of the heart and behind the sternum.
    bulge = np.exp(-(((y - 8.0) / (0.55 * anatomy.half_depth_mm)) ** 2))
    half = anatomy.junction_mm + (anatomy.mediastinum_mm - anatomy.junction_mm) * bulge
    from_middle = on_side(x, side) - half
    outward = OUTWARD[side]
    side_centre = outward * 0.52 * anatomy.half_width_mm
    bowl = ((x - side_centre) / (0.62 * anatomy.half_width_mm)) ** 2 + (
        (y + 0.15 * anatomy.half_depth_mm) / (1.05 * anatomy.half_depth_mm)
    ) ** 2
    above_dome = 0.72 * (z - anatomy.dome_mm[side] + anatomy.dome_drop_mm * bowl)
    cupola = ((x - outward * 42.0) / 40.0) ** 2 + ((y - 8.0) / 46.0) ** 2
    below_apex = 0.8 * (anatomy.apex_mm - 16.0 * cupola - z)
    depth = np.minimum(np.minimum(cage - 2.0, from_middle), np.minimum(above_dome, below_apex))
    depth = np.minimum(depth, -heart_depth(anatomy, x, y, z) - 1.5)
    return _field(np.minimum(depth, -spine_depth(anatomy, x, y)))


def on_side(x: Field, side: Lung) -> Field:
    """Distance from the plane between the lungs, positive on the lung's side."""
    return _field(OUTWARD[side] * (x - 2.0))


def lobe_depth(y: Field, z: Height) -> Field:
    """Distance behind and below the oblique fissure: positive in a lower lobe."""
    return _field(0.66 * (y - 4.0) - 0.75 * (z + 6.0))
