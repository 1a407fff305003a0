"""What a scanner adds to a thorax: smooth random texture, the blur of the reconstruction, and its noise.

Used by phantom_slices and phantom. Real noise is not white: filtered back-projection leaves a band of spatial
frequencies, and neighbouring slices share some of it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

from covnode.learn.phantom_anatomy import Field
from covnode.learn.phantom_tubes import Grid

_TEXTURE_PITCH_MM = 5.0
# Cycles/mm.
_NOISE_CUT = 0.31


class Texture:
    """A smooth random field of unit spread, the same at the same place whatever the grid."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        coarse = [np.arange(-210.0, 211.0, _TEXTURE_PITCH_MM) for _ in range(3)]
        fine = gaussian_filter(rng.standard_normal((len(coarse[0]),) * 3, dtype=np.float32), 0.8)
        broad = gaussian_filter(rng.standard_normal(fine.shape, dtype=np.float32), 2.5)
        self._field = 0.6 * fine / fine.std() + 0.8 * broad / broad.std()
        self._to_k, self._to_j, self._to_i = (
            _linear_weights(coarse[0], axis) for axis in (grid.z_mm, grid.y_mm, grid.x_mm)
        )

    def at(self, k: int) -> Field:
        """Return slice k of the field, shape (j, i)."""
        plane = np.tensordot(self._to_k[k], self._field, axes=1)
        field: Field = self._to_j @ plane @ self._to_i.T
        return field


def _linear_weights(nodes: NDArray[np.float64], places: NDArray[np.float32]) -> NDArray[np.float32]:
    columns = [np.interp(places, nodes, row) for row in np.eye(len(nodes))]
    return np.stack(columns, axis=1).astype(np.float32)


class Reconstruction:
    """Blur and noise of one reconstruction, slice after slice.

    Parameters
    ----------
    sharpness
        Factor of the kernel's cut-off frequency.
    """

    def __init__(self, grid: Grid, noise_hu: float, rng: np.random.Generator, sharpness: float = 1.0) -> None:
        _, pixel_mm, _ = grid.spacing_mm
        size = len(grid.y_mm), len(grid.x_mm)
        cycles_mm = np.hypot(fft.fftfreq(size[0], pixel_mm)[:, None], fft.rfftfreq(size[1], pixel_mm))
        self._blur = np.exp(-((cycles_mm / (0.62 * sharpness)) ** 2)).astype(np.float32)
        # Noise power rises with the frequency and is cut by the kernel; integrated over all frequencies it is
        # noise_hu squared, of which a coarse grid sees only its share. The cut gives the correlation of neighbouring
        # pixels (about 0.55) that usual soft kernels have.
        cut = _NOISE_CUT * sharpness
        band = cycles_mm * np.exp(-((cycles_mm / cut) ** 2))
        whole = np.sqrt(np.pi / 4.0) * cut**2
        self._band = (noise_hu * band / (whole * pixel_mm)).astype(np.float32)
        # Less tissue lies on the rays near the edge of the field of view.
        radius = np.hypot(grid.y_mm[:, None], grid.x_mm) / float(np.hypot(grid.y_mm[-1], grid.x_mm[-1]))
        self._strength = (1.15 - 0.75 * radius**2).astype(np.float32)
        self._size = size
        self._rng = rng
        self._last = self._grain()

    def _grain(self) -> Field:
        white = self._rng.standard_normal(self._size, dtype=np.float32)
        grain: Field = fft.irfft2(fft.rfft2(white) * self._band, s=self._size)
        return grain * self._strength

    def scan(self, ideal_hu: Field) -> NDArray[np.int16]:
        """Return the next slice as the scanner would show it: int16 HU, shape (j, i), -1024..3071."""
        fresh = self._grain()
        image = fft.irfft2(fft.rfft2(ideal_hu + 1000.0) * self._blur, s=self._size) - 1000.0
        image += 0.87 * fresh + 0.5 * self._last
        self._last = fresh
        voxels_hu: NDArray[np.int16] = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
        return voxels_hu
