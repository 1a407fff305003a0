"""A segmentation that lies or looks otherwise than the stored masks is refused."""

from dataclasses import replace

import numpy as np
import pytest
from planting import changed, exchange, frames_of, put_frames, refused

from covnode.interlock.refusals import Rule


def shifted(x_mm=0.0, y_mm=0.0, z_mm=0.0):
    def shift(seg):
        for groups in seg.PerFrameFunctionalGroupsSequence:
            position = groups.PlanePositionSequence[0]
            moved = np.array(position.ImagePositionPatient, float) + np.array([x_mm, y_mm, z_mm])
            position.ImagePositionPatient = [f"{value:.6f}" for value in moved]

    return shift


@pytest.mark.parametrize(
    "shift", [{"x_mm": 1}, {"y_mm": -1}, {"z_mm": 1}, {"z_mm": 2.5}, {"x_mm": 0.7}, {"y_mm": 0.02}]
)
@pytest.mark.parametrize("layout", ["axial", "oblique", "enhanced", "tilted"])
def test_a_shifted_segmentation(deliver, tmp_path, layout, shift):
    assert refused(changed(deliver(layout), tmp_path, seg=shifted(**shift))) == Rule.GEOMETRY


def shared(seg):
    return seg.SharedFunctionalGroupsSequence[0]


def mirror_orientation(seg):
    shared(seg).PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def swap_orientation(seg):
    shared(seg).PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def swap_spacing(seg):
    measures = shared(seg).PixelMeasuresSequence[0]
    measures.PixelSpacing = list(reversed(measures.PixelSpacing))


def other_source_image(seg):
    images = [
        groups.DerivationImageSequence[0].SourceImageSequence[0] for groups in seg.PerFrameFunctionalGroupsSequence
    ]
    images[3].ReferencedSOPInstanceUID = images[4].ReferencedSOPInstanceUID


@pytest.mark.parametrize("mutate", [mirror_orientation, swap_orientation, swap_spacing, other_source_image])
def test_a_segmentation_that_says_it_lies_otherwise(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.GEOMETRY


def test_stored_masks_on_another_grid(deliver):
    delivery = deliver()
    for move in ([0, 0, 0, 1.0], [0, 0, 0, 0.02]):
        affine = delivery.masks.affine_lps_mm.copy()
        affine[0] += move
        assert refused(replace(delivery, masks=replace(delivery.masks, affine_lps_mm=affine))) == Rule.GEOMETRY
    mirrored = delivery.masks.affine_lps_mm @ np.diag([-1, 1, 1, 1])
    assert refused(replace(delivery, masks=replace(delivery.masks, affine_lps_mm=mirrored))) == Rule.GEOMETRY


def without_shear(affine):
    """The same grid with its slices stacked along their normal, as if the gantry had not been tilted."""
    upright, normal = affine.copy(), np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    upright[:3, 2] = normal * (affine[:3, 2] @ normal)
    return upright


TILTED = ["tilted", "tilted_feet_first", "enhanced_tilted"]


@pytest.mark.parametrize("layout", TILTED)
def test_masks_whose_grid_leaves_out_the_shear_of_a_tilted_gantry(deliver, layout):
    delivery = deliver(layout)
    upright = without_shear(delivery.masks.affine_lps_mm)
    assert refused(replace(delivery, masks=replace(delivery.masks, affine_lps_mm=upright))) == Rule.GEOMETRY


@pytest.mark.parametrize("layout", TILTED)
def test_a_segmentation_whose_frames_leave_out_the_shear(deliver, tmp_path, layout):
    delivery = deliver(layout)
    sheared = delivery.masks.affine_lps_mm
    moved = without_shear(sheared) @ np.linalg.inv(sheared)

    def put_upright(seg):
        for groups in seg.PerFrameFunctionalGroupsSequence:
            position = groups.PlanePositionSequence[0]
            upright = (moved @ [*map(float, position.ImagePositionPatient), 1.0])[:3]
            position.ImagePositionPatient = [f"{value:.6f}" for value in upright]

    assert refused(changed(delivery, tmp_path, seg=put_upright)) == Rule.GEOMETRY


def flip_one_frame(seg):
    frames = frames_of(seg).copy()
    frames[5] = frames[5, ::-1]
    put_frames(seg, frames)


def flip_one_voxel(seg):
    seg.PixelData = bytes([*seg.PixelData[:999], seg.PixelData[999] ^ 8, *seg.PixelData[1000:]])


def exchange_two_frames(seg):
    frames = frames_of(seg).copy()
    frames[[4, 8]] = frames[[8, 4]]
    put_frames(seg, frames)


def big_endian_bits(seg):
    put_frames(
        seg,
        np.unpackbits(np.packbits(frames_of(seg).ravel(), bitorder="big"), bitorder="little").reshape(
            frames_of(seg).shape
        ),
    )


@pytest.mark.parametrize("mutate", [flip_one_frame, flip_one_voxel, exchange_two_frames, big_endian_bits])
def test_voxels_that_differ_from_the_stored_masks(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.VOXELS


def test_masks_of_another_analysis(deliver):
    delivery = deliver()
    labels = delivery.masks.lesion_labels.copy()
    inside = np.argwhere(labels == 1)
    labels[tuple(inside[len(inside) // 2])] = 0
    assert refused(replace(delivery, masks=replace(delivery.masks, lesion_labels=labels))) == Rule.VOXELS


def test_mirrored_sides(deliver, tmp_path):
    def mirror(seg):
        put_frames(seg, frames_of(seg)[:, :, ::-1])

    assert refused(changed(deliver(), tmp_path, seg=mirror)) == Rule.SIDE


def test_left_and_right_exchanged_throughout(deliver, tmp_path):
    mutate = lambda seg: exchange(seg, "SegmentedPropertyTypeCodeSequence", "SegmentLabel")  # noqa: E731
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.SIDE


def test_left_and_right_exchanged_before_anything_was_written(deliver, tmp_path):
    """The lungs stage had it wrong, and masks, segmentation, report and record agree with each other."""
    swap = np.array([0, 2, 1], np.uint8)
    delivery = deliver("axial", relabel=swap)
    assert np.array_equal(delivery.masks.lung_labels, swap[deliver().masks.lung_labels])
    assert refused(delivery) == Rule.SIDE
