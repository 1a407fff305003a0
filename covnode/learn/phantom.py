"""Synthetic chest CTs with exactly known lungs and lesions: the front door to phantoms.

A preset and a seed -> make_phantom -> Phantom -> write_phantom -> DICOM files and the truth beside them. Used by
`covnode phantom`, by tests and by the training of the demonstration models. A phantom is no patient: figures
measured on it say nothing about accuracy on patients.
"""

import numpy as np
from numpy.typing import NDArray

from covnode.learn.phantom_anatomy import Anatomy, Field, cage_depth, draw_anatomy, lung_depth
from covnode.learn.phantom_dicom import InstanceOrder, Layout, PatientPosition, PhantomFiles, write_phantom
from covnode.learn.phantom_lesions import AFFECTED_SHARE, Blob, LungPoints, draw_lesions
from covnode.learn.phantom_other_findings import draw_effusions, draw_emphysema, draw_nodules
from covnode.learn.phantom_records import Phantom, PhantomPreset, Protocol
from covnode.learn.phantom_scanner import Reconstruction, Texture
from covnode.learn.phantom_slices import Inside, SliceMaker
from covnode.learn.phantom_tubes import Grid, Tubes, airways, coverage, hilum_mm, vessel_tree
from covnode.records.volume import Lung

__all__ = [
    "InstanceOrder",
    "Layout",
    "PatientPosition",
    "Phantom",
    "PhantomFiles",
    "PhantomPreset",
    "Protocol",
    "make_phantom",
    "write_phantom",
]

_COVERAGE_MM = 300.0
_VESSEL_ENDS = 420
_VESSEL_END_MM = 0.55
_WALL_MM = 1.3
_AS_DRAWN = Protocol()


def make_phantom(
    preset: PhantomPreset, *, slices: int = 120, seed: int = 0, size: int = 512, protocol: Protocol = _AS_DRAWN
) -> Phantom:
    """Make a synthetic chest CT; equal arguments give equal voxels.

    Size, shape, density, contrast and lesions follow the seed; the same seed has the same body under every preset
    and on every matrix. The slices cover 300 mm whatever their number.

    Parameters
    ----------
    slices
        Number of slices, 2 or more; 300 mm / slices is their distance.
    size
        Rows and columns; 512 gives pixels of about 0.7 mm.
    protocol
        Noise, kernel and thickness, where they shall differ from what the seed draws.
    """
    # One stream for each part, so that a larger matrix or another preset changes nothing else.
    body_rng, tube_rng, lesion_rng, texture_rng, noise_rng = np.random.default_rng([seed, 20260105]).spawn(5)
    anatomy = draw_anatomy(body_rng)
    averaged = protocol.averaged
    grid = _grid(anatomy, slices * averaged, size)
    inside = _inside(preset, anatomy, grid, tube_rng, lesion_rng)
    maker = SliceMaker(anatomy, grid, inside, Texture(grid, texture_rng))
    scanner = Reconstruction(grid, protocol.noise * anatomy.noise_hu, noise_rng, protocol.sharpness)
    shape = (slices, size, size)
    voxels_hu, lung_labels = np.empty(shape, dtype=np.int16), np.empty(shape, dtype=np.uint8)
    lesion_labels = np.empty(shape, dtype=np.uint8)
    for k in range(slices):
        thin = [maker.make(k * averaged + part) for part in range(averaged)]
        voxels_hu[k] = scanner.scan(np.mean([part.ideal_hu for part in thin], axis=0, dtype=np.float32))
        middle = thin[averaged // 2]
        lung_labels[k], lesion_labels[k] = middle.lung_labels, middle.lesion_labels
    return Phantom(
        preset=preset,
        seed=seed,
        voxels_hu=voxels_hu,
        lung_labels=lung_labels,
        lesion_labels=lesion_labels,
        airway_mask=inside.central_airway[averaged // 2 :: averaged] >= 128,
        affine_lps_mm=_affine(grid, seed, averaged),
        contrast_agent=anatomy.blood_hu > 100.0,
    )


def _grid(anatomy: Anatomy, slices: int, size: int) -> Grid:
    pixel_mm = round(anatomy.field_of_view_mm / size, 4)
    slice_mm = round(_COVERAGE_MM / slices, 4)
    in_plane = ((np.arange(size) - (size - 1) / 2) * pixel_mm).astype(np.float32)
    along = ((np.arange(slices) - (slices - 1) / 2) * slice_mm).astype(np.float32)
    return Grid(x_mm=in_plane, y_mm=in_plane + np.float32(8.0), z_mm=along)


def _inside(
    preset: PhantomPreset, anatomy: Anatomy, grid: Grid, tube_rng: np.random.Generator, lesion_rng: np.random.Generator
) -> Inside:
    lungs = tuple(_lung_points(anatomy, side, tube_rng) for side in Lung)
    central, segmental = airways(anatomy, tube_rng)
    central_airway = coverage(grid, _grown(central, _WALL_MM))
    return Inside(
        vessels=coverage(grid, _vessels(anatomy, lungs, tube_rng).larger_than(0.22 * grid.spacing_mm[1])),
        lumen=np.maximum(coverage(grid, central), coverage(grid, segmental)),
        airway_wall=np.maximum(central_airway, coverage(grid, _grown(segmental, 0.7))),
        central_airway=central_airway,
        blobs=_blobs(preset, lungs, lesion_rng),
        effusions=draw_effusions(anatomy, lesion_rng) if preset is PhantomPreset.EFFUSION else (),
    )


def _blobs(preset: PhantomPreset, lungs: tuple[LungPoints, ...], rng: np.random.Generator) -> tuple[Blob, ...]:
    if preset in AFFECTED_SHARE:
        return draw_lesions(preset, lungs, rng)
    if preset is PhantomPreset.NODULES:
        return draw_nodules(lungs, rng)
    return draw_emphysema(lungs, rng) if preset is PhantomPreset.EMPHYSEMA else ()


def _affine(grid: Grid, seed: int, averaged: int) -> NDArray[np.float64]:
    """(i, j, k, 1) -> LPS mm; the scanner's origin lies somewhere outside the middle of the chest."""
    k_mm, j_mm, i_mm = (round(spacing, 4) for spacing in grid.spacing_mm)
    affine = np.diag([i_mm, j_mm, k_mm * averaged, 1.0])
    first_z_mm = float(grid.z_mm[:averaged].mean())
    origin = np.array([grid.x_mm[0], grid.y_mm[0], first_z_mm], dtype=np.float64)
    affine[:3, 3] = np.round(origin + np.array([3.5, -151.0, -400.0 - 10.0 * (seed % 7)]), 3)
    return affine


def _lung_points(anatomy: Anatomy, side: Lung, rng: np.random.Generator) -> LungPoints:
    """Spread points evenly through a lung: one in each 6 mm cube, moved at random."""
    axes = [np.arange(-165.0, 166.0, 6.0), np.arange(-115.0, 116.0, 6.0), np.arange(-160.0, 161.0, 6.0)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points += rng.uniform(-3.0, 3.0, size=points.shape)
    x, y, z = (column.astype(np.float32) for column in points.T)
    cage: Field = cage_depth(anatomy, x, y, z)
    depth = lung_depth(anatomy, cage, x, y, z, side)
    return LungPoints(side, points[depth > 1.0], depth[depth > 1.0].astype(np.float64))


def _vessels(anatomy: Anatomy, lungs: tuple[LungPoints, ...], rng: np.random.Generator) -> Tubes:
    trees = []
    for lung in lungs:
        ends = rng.choice(len(lung.points_mm), size=_VESSEL_ENDS, replace=False)
        trees.append(vessel_tree(hilum_mm(anatomy, lung.side), lung.points_mm[ends], _VESSEL_END_MM))
    return Tubes(
        np.concatenate([tree.start_mm for tree in trees]),
        np.concatenate([tree.end_mm for tree in trees]),
        np.concatenate([tree.radius_mm for tree in trees]),
    )


def _grown(tubes: Tubes, wall_mm: float) -> Tubes:
    return Tubes(tubes.start_mm, tubes.end_mm, tubes.radius_mm + wall_mm)
