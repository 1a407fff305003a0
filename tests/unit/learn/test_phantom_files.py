"""Phantom files: valid DICOM whose pixels lie where the truth says, in every layout."""

import json
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from covnode.learn.phantom import (
    InstanceOrder,
    Layout,
    PatientPosition,
    PhantomPreset,
    make_phantom,
    write_phantom,
)
from covnode.learn.phantom_layout import laid_out
from covnode.records.volume import Lesion, Lung

SEED_WITH_CONTRAST = 4


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(PhantomPreset.COVID_SEVERE, seed=1, slices=12, size=48)


def voxels_at(dataset_frames, affine_lps_mm, shape):
    """The stored pixels put on the canonical grid by their patient coordinates alone."""
    volume = np.full(shape, -32768, dtype=np.int32)
    to_ijk = np.linalg.inv(affine_lps_mm)
    for pixels_hu, position, orientation, spacing in dataset_frames:
        rows, columns = np.indices(pixels_hu.shape)
        across, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
        lps = (
            np.array(position, float)
            + columns[..., None] * float(spacing[1]) * across
            + rows[..., None] * float(spacing[0]) * down
        )
        ijk = lps @ to_ijk[:3, :3].T + to_ijk[:3, 3]
        index = np.rint(ijk).astype(int)
        assert np.abs(ijk - index).max() < 1e-3
        volume[index[..., 2], index[..., 1], index[..., 0]] = pixels_hu
    return volume


def frames_of(files):
    for path in files.dicom:
        ds = pydicom.dcmread(path)
        pixels = ds.pixel_array.astype(np.int32)
        if "PerFrameFunctionalGroupsSequence" not in ds:
            hu = pixels * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
            yield hu, ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
            continue
        shared = ds.SharedFunctionalGroupsSequence[0]
        for frame, groups in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
            yield (
                frame - 1024,
                groups.PlanePositionSequence[0].ImagePositionPatient,
                shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                shared.PixelMeasuresSequence[0].PixelSpacing,
            )


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("position", list(PatientPosition))
def test_every_pixel_lies_where_the_truth_has_its_voxel(phantom, tmp_path, position, enhanced):
    layout = Layout(
        patient_position=position,
        instance_order=InstanceOrder.SHUFFLED,
        oblique_deg=(12.0, -7.0),
        column_step=2,
        enhanced=enhanced,
    )
    files = write_phantom(phantom, tmp_path, layout=layout)
    truth = np.load(files.truth_npz)
    expected = phantom.voxels_hu[:, :, ::2]
    volume = voxels_at(frames_of(files), truth["affine_lps_mm"], expected.shape)
    assert np.array_equal(volume, expected)
    assert np.array_equal(truth["lung_labels"], phantom.lung_labels[:, :, ::2])
    assert pydicom.dcmread(files.dicom[0]).PatientPosition == position


def test_positions_store_the_image_as_a_scanner_does(phantom, tmp_path):
    # Lying on the back, "down" in the image is the patient's back; on the right side, it is the right side.
    down = {"HFS": (0, 1, 0), "HFP": (0, -1, 0), "HFDR": (-1, 0, 0), "FFDL": (1, 0, 0)}
    for name, expected in down.items():
        files = write_phantom(phantom, tmp_path / name, layout=Layout(patient_position=PatientPosition(name)))
        orientation = pydicom.dcmread(files.dicom[0]).ImageOrientationPatient
        assert tuple(orientation[3:]) == expected
        normal = np.cross(np.array(orientation[:3], float), np.array(orientation[3:], float))
        assert normal[2] == pytest.approx(1 if name.startswith("HF") else -1)


@pytest.mark.parametrize(("order", "sign"), [(InstanceOrder.SUPERIOR_FIRST, -1), (InstanceOrder.INFERIOR_FIRST, 1)])
def test_instance_numbers_follow_the_order(phantom, tmp_path, order, sign):
    files = write_phantom(phantom, tmp_path, layout=Layout(instance_order=order))
    datasets = [pydicom.dcmread(path) for path in files.dicom]
    assert [ds.InstanceNumber for ds in datasets] == list(range(1, 13))
    steps = np.diff([float(ds.ImagePositionPatient[2]) for ds in datasets])
    assert np.allclose(steps, sign * phantom.spacing_mm[0])


def test_tilt_keeps_the_centre_and_the_distances(phantom):
    tilted = laid_out(phantom, Layout(oblique_deg=(12.0, 9.0)))
    centre = np.array([23.5, 23.5, 5.5, 1.0])
    assert np.allclose(tilted.affine_lps_mm @ centre, phantom.affine_lps_mm @ centre)
    assert np.allclose(tilted.spacing_mm, phantom.spacing_mm)
    along_k = tilted.affine_lps_mm[:3, 2] / tilted.spacing_mm[0]
    assert np.degrees(np.arccos(along_k[2])) == pytest.approx(
        np.degrees(np.arccos(np.cos(0.2094395) * np.cos(0.1570796)))
    )


def test_equal_calls_write_equal_files_and_the_uids_follow_the_content(phantom, tmp_path):
    first = write_phantom(phantom, tmp_path / "a")
    again = write_phantom(phantom, tmp_path / "b")
    turned = write_phantom(phantom, tmp_path / "c", layout=Layout(oblique_deg=(3.0, 0.0)))
    assert [path.read_bytes() for path in first.dicom] == [path.read_bytes() for path in again.dicom]
    assert first.truth_json.read_bytes() == again.truth_json.read_bytes()
    one, other = pydicom.dcmread(first.dicom[0]), pydicom.dcmread(turned.dicom[0])
    assert one.StudyInstanceUID == other.StudyInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in first.dicom}
    assert len(uids) == 12
    assert all(uid.startswith("2.25.") and uid.is_valid for uid in uids)


def test_files_say_that_they_are_a_phantom(phantom, tmp_path):
    for layout in (Layout(), Layout(enhanced=True)):
        ds = pydicom.dcmread(write_phantom(phantom, tmp_path / str(layout.enhanced), layout=layout).dicom[0])
        assert "phantom" in ds.ImageComments.lower()
        assert ds.QualityControlSubject == "YES"
        assert (ds.PatientName, ds.PatientID) == ("Phantom^covid-severe", "PHANTOM-1")


def test_attributes_replace_the_phantoms_own_in_every_instance(phantom, tmp_path):
    given = {"PatientName": "Sentinel^Name", "AccessionNumber": None, "SOPInstanceUID": "2.25.77"}
    files = write_phantom(phantom, tmp_path, attributes=given)
    datasets = [pydicom.dcmread(path) for path in files.dicom]
    assert len(datasets) == 12
    for ds in datasets:
        assert ds.PatientName == "Sentinel^Name"
        assert not ds.AccessionNumber
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID == "2.25.77"


def test_truth_figures_are_counted_in_the_masks(phantom, tmp_path):
    files = write_phantom(phantom, tmp_path)
    figures, masks = json.loads(files.truth_json.read_text()), np.load(files.truth_npz)
    lungs, lesions = masks["lung_labels"], masks["lesion_labels"]
    voxel_ml = abs(np.linalg.det(masks["affine_lps_mm"][:3, :3])) / 1000
    for name, side in (("right", Lung.RIGHT), ("left", Lung.LEFT)):
        lung = lungs == side
        assert figures["lung_volume_ml"][name] == pytest.approx(lung.sum() * voxel_ml)
        assert figures["affected_percent"][name] == pytest.approx(100 * (lesions[lung] > 0).mean())
        assert figures["ground_glass_ml"][name] == pytest.approx(
            (lesions[lung] == Lesion.GROUND_GLASS).sum() * voxel_ml
        )
        assert figures["consolidation_ml"][name] == pytest.approx(
            (lesions[lung] == Lesion.CONSOLIDATION).sum() * voxel_ml
        )
    assert figures["affected_percent"]["total"] == pytest.approx(100 * (lesions[lungs > 0] > 0).mean())
    assert figures["geometry"]["affine_lps_mm"] == masks["affine_lps_mm"].tolist()
    positions = [part["position_mm"] for part in figures["slices"]]
    assert positions == sorted(positions, reverse=True)
    for part in figures["slices"]:
        k = len(lungs) - 1 - part["index"]
        lung = lungs[k] > 0
        expected = 100 * (lesions[k][lung] > 0).mean() if lung.any() else None
        assert part["affected_percent"] == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.peer
@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("seed", [1, SEED_WITH_CONTRAST])
def test_dciodvfy_finds_no_error(tmp_path, seed, enhanced):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    phantom = make_phantom(PhantomPreset.COVID_MILD, seed=seed, slices=6, size=48)
    assert phantom.contrast_agent == (seed == SEED_WITH_CONTRAST)
    layout = Layout(patient_position=PatientPosition.FFDR, oblique_deg=(12.0, 5.0), enhanced=enhanced)
    for path in write_phantom(phantom, tmp_path, layout=layout).dicom:
        verdict = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        lines = (verdict.stdout + verdict.stderr).splitlines()
        assert [line for line in lines if line.startswith(("Error", "Warning"))] == []
        assert "EnhancedCTImage" in lines[0] if enhanced else "CTImage" in lines[0]
