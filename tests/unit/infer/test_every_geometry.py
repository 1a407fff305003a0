"""A phantom stored in every way a scanner may store it: masks and volumes are the phantom's."""

import json
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import cycle

import highdicom.legacy
import numpy as np
import pytest
from phantom_cases import dice
from pydicom import Dataset, dcmread

from covnode.imaging.upright import lesions_upright, lungs_upright
from covnode.infer.lesions import find_lesions
from covnode.infer.lungs import segment_lungs
from covnode.infer.measures import measure
from covnode.learn.phantom import InstanceOrder, Layout, PatientPosition, PhantomPreset, make_phantom, write_phantom
from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import AIR_HU, Lung
from covnode.volume.loading import load_volume

LEAST_DICE = 0.97
LUNG_TOLERANCE = 0.03
LESION_TOLERANCE = 0.10
LESIONS_FROM_ML = 5.0


@cache
def phantom(slices=60, size=144, preset="covid-mild"):
    return make_phantom(PhantomPreset(preset), slices=slices, seed=5, size=size)


@dataclass(frozen=True)
class Stored:
    """A phantom as files: the truth beside them, and the voxels that they hold on the canonical grid."""

    files: tuple
    figures: dict
    masks: dict


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Write a phantom in a layout, once."""
    written = {}

    def store(made, layout):
        key = (id(made), layout)
        if key not in written:
            files = write_phantom(made, tmp_path_factory.mktemp("phantom"), layout=layout)
            masks = dict(np.load(files.truth_npz))
            written[key] = Stored(files.dicom, json.loads(files.truth_json.read_text()), masks)
        return written[key]

    return store


def rewritten(files, folder, change):
    """Copy single-frame files, each data set changed by `change(dataset, its HU, its number)`."""
    paths = []
    for number, path in enumerate(files):
        dataset = dcmread(path)
        change(dataset, dataset.pixel_array.astype(np.int32) - 1024, number)
        paths.append(folder / f"{len(list(folder.iterdir())):04d}.dcm")
        dataset.save_as(paths[-1])
    return tuple(paths)


def series(files):
    return DeidentifiedSeries("s", 1, tuple(files), "0" * 64)


MASKS = {}


def masks_of(volume):
    """Find lungs and lesions; once for all volumes of the same voxels, steps and shear."""
    steps_mm = volume.affine_lps_mm[:3, :3]
    key = hash((volume.voxels_hu.tobytes(), (steps_mm.T @ steps_mm).round(2).tobytes()))
    if key not in MASKS:
        lungs = lungs_upright(segment_lungs)(volume)
        MASKS[key] = lungs, lesions_upright(find_lesions)(volume, lungs)
    return MASKS[key]


def assert_right(volume, truth):
    """The grid is the phantom's, and so are the masks and figures on it."""
    np.testing.assert_allclose(volume.affine_lps_mm, truth.masks["affine_lps_mm"], atol=1e-3)
    lungs, lesions = masks_of(volume)
    figures = measure(volume, lungs, lesions)
    for side in Lung:
        assert dice(lungs.labels == side, truth.masks["lung_labels"] == side) >= LEAST_DICE
    for side in ("total", "left", "right"):
        lung_ml = truth.figures["lung_volume_ml"][side]
        assert getattr(figures.lung_volume_ml, side) == pytest.approx(lung_ml, rel=LUNG_TOLERANCE)
    lesion_ml = truth.figures["ground_glass_ml"]["total"] + truth.figures["consolidation_ml"]["total"]
    assert lesion_ml > LESIONS_FROM_ML
    found_ml = figures.ground_glass_ml.total + figures.consolidation_ml.total
    assert found_ml == pytest.approx(lesion_ml, rel=LESION_TOLERANCE)


ORDERS = cycle(InstanceOrder)
GEOMETRIES = {
    **{f"lies {position}": (phantom, Layout(position, next(ORDERS))) for position in PatientPosition},
    **{f"order {order}": (phantom, Layout(instance_order=order)) for order in InstanceOrder},
    **{
        f"enhanced {position}": (phantom, Layout(position, InstanceOrder.SHUFFLED, enhanced=True))
        for position in (PatientPosition.HFS, PatientPosition.HFP, PatientPosition.FFDR)
    },
    "oblique": (phantom, Layout(oblique_deg=(8.0, -5.0))),
    "oblique, on the side": (phantom, Layout(PatientPosition.HFDL, oblique_deg=(-6.0, 9.0))),
    "wide pixels": (lambda: phantom(size=192), Layout(column_step=2)),
    "wide pixels, on the side": (lambda: phantom(size=192), Layout(PatientPosition.HFDR, column_step=2)),
    "0.6 mm": (lambda: phantom(500, 128), Layout(enhanced=True)),
    "2.5 mm": (lambda: phantom(120, 128), Layout()),
    "8 mm": (lambda: phantom(37), Layout()),
}
TILTS = {
    "tilt -15": Layout(tilt_deg=-15.0),
    "tilt 20": Layout(tilt_deg=20.0),
    "tilt 20, feet first, prone": Layout(PatientPosition.FFP, InstanceOrder.INTERLEAVED, tilt_deg=20.0),
    "tilt -15, enhanced, on the side": Layout(PatientPosition.HFDR, tilt_deg=-15.0, enhanced=True),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_masks_and_volumes_are_the_phantoms(stored, name):
    make, layout = GEOMETRIES[name]
    truth = stored(make(), layout)
    volume = load_volume(series(truth.files))
    np.testing.assert_array_equal(volume.voxels_hu, make().voxels_hu[:, :, :: layout.column_step])
    assert volume.cautions == ()
    assert_right(volume, truth)


@pytest.mark.parametrize("name", TILTS)
def test_masks_and_volumes_of_a_tilted_gantry_are_the_phantoms(stored, name):
    truth = stored(phantom(100), TILTS[name])
    volume = load_volume(series(truth.files))
    degrees = abs(TILTS[name].tilt_deg)
    (caution,) = volume.cautions
    assert caution.startswith(f"The gantry was tilted by {degrees:.1f} degrees: ")
    assert np.linalg.norm(volume.affine_lps_mm[:3, 2]) == pytest.approx(3.0, abs=1e-3)
    assert volume.spacing_mm[0] == pytest.approx(3.0 * np.cos(np.radians(degrees)), abs=1e-3)
    assert_right(volume, truth)


def test_an_odd_matrix(stored):
    whole, part = phantom(), (slice(None), slice(2, 143), slice(1, 136))
    affine = whole.affine_lps_mm.copy()
    affine[:3, 3] = (affine @ [1, 2, 0, 1])[:3]
    names = ("voxels_hu", "lung_labels", "lesion_labels", "airway_mask")
    cut = replace(whole, affine_lps_mm=affine, **{name: getattr(whole, name)[part] for name in names})
    truth = stored(cut, Layout(PatientPosition.FFDL))
    volume = load_volume(series(truth.files))
    assert volume.voxels_hu.shape == (60, 141, 135)
    assert_right(volume, truth)


def store_words(dataset, words, bits, *, signed):
    """Put words into a data set whose pixels have so many bits."""
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    dataset.PixelData = (words & ((1 << bits) - 1)).astype("<u2").tobytes()


def format_of(bits, *, signed):
    def change(dataset, hu, number):
        dataset.RescaleIntercept = 0 if signed else -1024
        store_words(dataset, hu if signed else hu + 1024, bits, signed=signed)

    return change


def rescale_of_each_slice(dataset, hu, number):
    slope, intercept = (0.5, 1.0, 0.25)[number % 3], -1024 - number % 7
    dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
    store_words(dataset, np.rint((hu - intercept) / slope).astype(np.int32), 15, signed=False)


PIXELS = {
    **{
        f"{bits} bits, {'signed' if signed else 'unsigned'}": format_of(bits, signed=signed)
        for bits in range(12, 17)
        for signed in (False, True)
    },
    "rescale of each slice": rescale_of_each_slice,
}


@pytest.mark.parametrize("name", PIXELS)
def test_every_pixel_format_and_rescale_gives_the_same_masks(stored, tmp_path, name):
    truth = stored(phantom(), Layout())
    volume = load_volume(series(rewritten(truth.files, tmp_path, PIXELS[name])))
    np.testing.assert_array_equal(volume.voxels_hu, phantom().voxels_hu)
    assert_right(volume, truth)


def outside_the_circle(shape):
    """What lies outside of the reconstructed field."""
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in shape)
    return np.hypot(rows[:, None], columns) > max(shape) / 2


@dataclass(frozen=True)
class Padding:
    """A word outside of the reconstructed field, and how the header tells of it."""

    word: int
    intercept: int
    signed: bool
    bits: int = 16
    stated: dict = field(default_factory=dict)

    def change(self, dataset, hu, number):
        words = np.where(outside_the_circle(hu.shape), self.word, hu - self.intercept)
        dataset.RescaleIntercept = self.intercept
        store_words(dataset, words, self.bits, signed=self.signed)
        for keyword, value in self.stated.items():
            dataset.add_new(keyword, "US" if value > 32767 or not self.signed else "SS", value)


PADDINGS = {
    "-2000": Padding(-2000, 0, signed=True),
    "-2000, stated": Padding(-2000, 0, signed=True, stated={"PixelPaddingValue": -2000}),
    "-2000, stated as unsigned": Padding(-2000, 0, signed=True, stated={"PixelPaddingValue": 63536}),
    "-2000 of 12 bits": Padding(-2000, 0, signed=True, bits=12, stated={"PixelPaddingValue": -2000}),
    "-3024": Padding(-2000, -1024, signed=True),
    "-3024, stated": Padding(-2000, -1024, signed=True, stated={"PixelPaddingValue": -2000}),
    "63536 of unsigned words": Padding(63536, -1024, signed=False, stated={"PixelPaddingValue": 63536}),
    "a range": Padding(4095, -1024, signed=False, stated={"PixelPaddingValue": 4090, "PixelPaddingRangeLimit": 4095}),
}


@pytest.mark.parametrize("name", PADDINGS)
def test_padding_is_air_and_the_masks_are_the_phantoms(stored, tmp_path, name):
    truth = stored(phantom(), Layout())
    volume = load_volume(series(rewritten(truth.files, tmp_path, PADDINGS[name].change)))
    outside = outside_the_circle(volume.voxels_hu.shape[1:])
    assert 0.2 < outside.mean() < 0.22
    np.testing.assert_array_equal(volume.voxels_hu, np.where(outside, AIR_HU, phantom().voxels_hu))
    assert_right(volume, truth)


def test_enhanced_ct_with_a_rescale_of_each_frame(stored, tmp_path):
    truth = stored(phantom(), Layout(instance_order=InstanceOrder.SHUFFLED, enhanced=True))
    dataset = dcmread(truth.files[0])
    words, shared = dataset.pixel_array.astype(np.int32), dataset.SharedFunctionalGroupsSequence[0]
    del shared.PixelValueTransformationSequence
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        rescale = Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "1", str(-1024 - number), "HU"
        groups.PixelValueTransformationSequence = [rescale]
        words[number] += number
    dataset.PixelData = words.astype("<u2").tobytes()
    dataset.save_as(tmp_path / "enhanced.dcm")
    volume = load_volume(series([tmp_path / "enhanced.dcm"]))
    np.testing.assert_array_equal(volume.voxels_hu, phantom().voxels_hu)
    assert_right(volume, truth)


@pytest.mark.parametrize("layout", [Layout(), Layout(PatientPosition.FFP), Layout(tilt_deg=20.0)], ids=str)
def test_legacy_converted_enhanced_ct(stored, tmp_path, layout):
    truth = stored(phantom(100) if layout.tilt_deg else phantom(), layout)
    converted = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        [dcmread(path) for path in truth.files],
        series_instance_uid="2.25.7",
        series_number=2,
        sop_instance_uid="2.25.8",
        instance_number=1,
    )
    converted.save_as(tmp_path / "legacy.dcm")
    assert_right(load_volume(series([tmp_path / "legacy.dcm"])), truth)


def test_an_overlapping_reconstruction(stored, tmp_path):
    def widen(dataset, hu, number):
        dataset.SliceThickness = "10"

    truth = stored(phantom(), Layout())
    volume = load_volume(series(rewritten(truth.files, tmp_path, widen)))
    assert volume.acquisition.slice_thickness_mm == 2 * volume.spacing_mm[0]
    assert_right(volume, truth)


@pytest.mark.parametrize("shift_mm", [0.0, 2.5, 1.7], ids=["same places", "halfway", "uneven"])
def test_of_two_acquisitions_in_one_series_one_is_taken_whole(stored, tmp_path, shift_mm):
    def second(dataset, hu, number):
        dataset.AcquisitionNumber, dataset.FrameOfReferenceUID = 2, frame_of_reference_uid
        dataset.ImagePositionPatient[2] = f"{float(dataset.ImagePositionPatient[2]) + shift_mm:.4f}"

    truth = stored(phantom(), Layout())
    other = stored(phantom(preset="normal"), Layout())
    frame_of_reference_uid = dcmread(truth.files[0]).FrameOfReferenceUID
    volume = load_volume(series([*rewritten(other.files, tmp_path, second), *truth.files]))
    np.testing.assert_array_equal(volume.voxels_hu, phantom().voxels_hu)
    assert "(Acquisition Number 1) was used and 60 other image(s) were left out" in volume.cautions[0]
    assert_right(volume, truth)
