"""Small CT series with known, asymmetric masks in many layouts: input of the tests of report, interlock and peers."""

import copy
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from covnode.imaging.orientation import in_plane_of, to_native
from covnode.records.result import (
    Acquisition,
    AnalysisResult,
    ModelIdentity,
    PerSide,
    PerZone,
    SeverityCategory,
    ZonesPerSide,
)
from covnode.records.volume import CTVolume, LesionMask, LungMask, SourceFrame

SLICES, ROWS, COLUMNS = 14, 60, 52
ROW_SPACING_MM, COLUMN_SPACING_MM, SLICE_SPACING_MM = 0.8, 0.7, 2.5


def _rotated(*degrees_xyz):
    x, y, z = np.radians(degrees_xyz)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return np.round((about_z @ about_y @ about_x)[:, :2].T, 10)


# Row and column direction cosines (LPS) of each layout.
LAYOUTS = {
    "axial": np.array([[1, 0, 0], [0, 1, 0]], float),
    "reversed": np.array([[1, 0, 0], [0, 1, 0]], float),
    "feet_first": np.array([[-1, 0, 0], [0, 1, 0]], float),
    "prone": np.array([[-1, 0, 0], [0, -1, 0]], float),
    "flipped_rows": np.array([[1, 0, 0], [0, -1, 0]], float),
    "transposed": np.array([[0, 1, 0], [1, 0, 0]], float),
    "turned": np.array([[0, -1, 0], [1, 0, 0]], float),
    "oblique": _rotated(9, -6, 4),
    "tilted": _rotated(-15, 0, 0),
    "tilted_feet_first": _rotated(20, 0, 180),
    "enhanced": np.array([[1, 0, 0], [0, 1, 0]], float),
    "enhanced_oblique": _rotated(-5, 8, 3),
    "enhanced_tilted": _rotated(20, 0, 0),
    "enhanced_split": np.array([[1, 0, 0], [0, 1, 0]], float),
}


@dataclass(frozen=True)
class Made:
    """A series with its volume and masks; the files serve as originals and as de-identified copies."""

    paths: tuple[Path, ...]
    volume: CTVolume
    lungs: LungMask
    lesions: LesionMask


LUNG_MODEL = ModelIdentity(
    name="threshold-lungs", version="1.0.0", task="lungs", sha256=None, training_data="none", demonstration=False
)
LESION_MODEL = ModelIdentity(
    name="density-lesions", version="1.1.0", task="lesions", sha256=None, training_data="none", demonstration=False
)
DEMONSTRATION_MODELS = tuple(
    ModelIdentity(
        name=f"phantom-{task}",
        version="0.1.0",
        task=task,
        sha256=digit * 64,
        training_data="synthetic phantoms",
        demonstration=True,
    )
    for task, digit in (("classification", "a"), ("severity", "b"))
)


def make_series(folder, layout="axial", *, slices=SLICES, rows=ROWS, columns=COLUMNS, **changes):
    """Write a series, with `changes` in every header (None removes), and the volume that the loader would make."""
    row_cosines, column_cosines = LAYOUTS[layout]
    in_plane = in_plane_of(tuple(row_cosines), tuple(column_cosines))
    affine, shape = _canonical_grid(layout, in_plane, (slices, rows, columns))
    lungs, lesions = make_masks(shape)
    voxels = np.full(shape, -60, np.int16)
    voxels[lungs > 0] = -850
    voxels[lesions == 1] = -550
    voxels[lesions == 2] = 20
    stored = np.ascontiguousarray(to_native(voxels, in_plane))
    corner = _native_corner(in_plane, shape)
    positions = [(affine @ [*corner, k, 1])[:3] for k in range(slices)]
    normal = _normal(affine)
    headers = [_frame_header(layout, k, slices, stored[k], positions[k], changes) for k in range(slices)]
    write = _write_enhanced if layout.startswith("enhanced") else _write_single
    frames = tuple(
        SourceFrame(path, header.SOPClassUID, header.SOPInstanceUID, number, float(position @ normal))
        for (path, number), header, position in zip(write(folder, headers, layout), headers, positions, strict=True)
    )
    volume = CTVolume(
        voxels_hu=voxels,
        affine_lps_mm=affine,
        spacing_mm=(
            float(affine[:3, 2] @ normal),
            *(float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0)),
        ),
        frames=frames,
        in_plane=in_plane,
        acquisition=Acquisition(convolution_kernel="B40f", slice_thickness_mm=SLICE_SPACING_MM),
    )
    return Made(
        tuple(sorted({frame.path for frame in frames})),
        volume,
        LungMask(lungs, LUNG_MODEL),
        LesionMask(lesions, LESION_MODEL),
    )


def make_masks(shape):
    """Asymmetric in every axis: right lung (low i) longer than the left, lesions of different size and height."""
    k, j, i = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    right = ((i - 0.27) / 0.17) ** 2 + ((j - 0.47) / 0.30) ** 2 + ((k - 0.52) / 0.44) ** 2 < 1
    left = ((i - 0.73) / 0.14) ** 2 + ((j - 0.52) / 0.25) ** 2 + ((k - 0.60) / 0.33) ** 2 < 1
    lungs = np.where(right, 1, np.where(left, 2, 0)).astype(np.uint8)
    glass = ((i - 0.25) / 0.10) ** 2 + ((j - 0.62) / 0.12) ** 2 + ((k - 0.35) / 0.16) ** 2 < 1
    dense = ((i - 0.75) / 0.07) ** 2 + ((j - 0.60) / 0.10) ** 2 + ((k - 0.50) / 0.12) ** 2 < 1
    lesions = np.where(glass & (lungs > 0), 1, np.where(dense & (lungs > 0), 2, 0)).astype(np.uint8)
    return lungs, lesions


def make_result(made, **changes):
    """The record that the analysis would make of the masks."""
    voxel_ml = made.volume.voxel_ml
    lungs, lesions = made.lungs.labels, made.lesions.labels

    def ml(inside, label=None):
        chosen = inside if label is None else inside & (lungs == label)
        return float(np.count_nonzero(chosen)) * voxel_ml

    def per_side(inside):
        return PerSide(total=ml(inside), left=ml(inside, 2), right=ml(inside, 1))

    lung_ml, affected_ml = per_side(lungs > 0), per_side(lesions > 0)
    values = {
        "analysis_id": "analysis-1",
        "series_id": "series-1",
        "revision": 1,
        "created_at": datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        "input_sha256": "0" * 64,
        "acquisition": made.volume.acquisition,
        "lung_volume_ml": lung_ml,
        "ground_glass_ml": per_side(lesions == 1),
        "consolidation_ml": per_side(lesions == 2),
        "affected_percent": PerSide(
            **{side: 100 * getattr(affected_ml, side) / getattr(lung_ml, side) for side in ("total", "left", "right")}
        ),
        "affected_percent_of_zones": ZonesPerSide(
            left=PerZone(upper=1.5, middle=20.25, lower=3.75), right=PerZone(upper=0.0, middle=2.5, lower=31.125)
        ),
        "low_attenuation_percent": PerSide(total=4.5, left=6.25, right=3.0),
        "slices": (),
        "covid_probability": 0.8125,
        "severity_score": 41.237,
        "severity_category": SeverityCategory.MODERATE,
        "ctsi": 9,
        "models": (LUNG_MODEL, LESION_MODEL, *DEMONSTRATION_MODELS),
        "cautions": ("Slices are thicker than 2 mm.",),
    }
    return AnalysisResult(**{**values, **changes})


def _canonical_grid(layout, in_plane, size):
    slices, rows, columns = size
    row_cosines, column_cosines = LAYOUTS[layout]
    along_column_index, along_row_index = row_cosines * COLUMN_SPACING_MM, column_cosines * ROW_SPACING_MM
    i_step, j_step = (
        (along_row_index, along_column_index) if in_plane.transpose else (along_column_index, along_row_index)
    )
    i_step = -i_step if in_plane.flip_i else i_step
    j_step = -j_step if in_plane.flip_j else j_step
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 3] = i_step, j_step, (-31.25, -187.5, -803.75)
    # The table moves along z, whatever the gantry's tilt.
    affine[:3, 2] = ((0, 0, 1) if "tilted" in layout else _normal(affine)) * np.full(3, SLICE_SPACING_MM)
    j_size, i_size = (columns, rows) if in_plane.transpose else (rows, columns)
    return affine, (slices, j_size, i_size)


def _normal(affine):
    """Unit vector at right angles to the slices, to superior."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return normal / np.linalg.norm(normal)


def _native_corner(in_plane, shape):
    return (shape[2] - 1 if in_plane.flip_i else 0), (shape[1] - 1 if in_plane.flip_j else 0)


def _uid(layout, name):
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{layout}/{name}'.encode()).digest()[:16], 'big')}"


def _frame_header(layout, k, slices, stored, position, changes):
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = _uid(layout, f"slice{k:03d}")
    header.StudyDate, header.StudyTime = "20260303", "101112"
    header.AccessionNumber = "ACC-77"
    header.Modality = "CT"
    header.Manufacturer = "Scanner maker"
    header.ReferringPhysicianName = "Arzt^Anna"
    header.PatientName = "Müller^Jörg"
    header.PatientID = "PID-4711"
    header.IssuerOfPatientID = "HOSPITAL"
    header.PatientBirthDate = "19600102"
    header.PatientSex = "M"
    header.StudyInstanceUID = _uid("study", layout)
    header.SeriesInstanceUID = _uid("series", layout)
    header.StudyID = "S-1"
    header.SeriesNumber = 3
    header.FrameOfReferenceUID = _uid("frame", layout)
    header.PositionReferenceIndicator = ""
    header.InstanceNumber = slices - k if layout == "reversed" else k + 1
    header.PatientPosition = "FFS" if layout == "feet_first" else "HFS"
    header.ImagePositionPatient = [f"{value:.9g}" for value in position]
    header.ImageOrientationPatient = [f"{value:.10g}" for value in LAYOUTS[layout].ravel()]
    header.PixelSpacing = [ROW_SPACING_MM, COLUMN_SPACING_MM]
    header.SliceThickness = SLICE_SPACING_MM
    header.KVP = 120
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = stored.shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    header.RescaleIntercept, header.RescaleSlope = 0, 1
    header.PixelData = stored.astype("<i2").tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value(k) if callable(value) else value)
    return header


def _write_single(folder, headers, _):
    places = [(folder / f"slice{k:03d}.dcm", None) for k in range(len(headers))]
    for header, (path, _) in zip(headers, places, strict=True):
        write_part10(header, path)
    return places


def _write_enhanced(folder, headers, layout):
    """One multi-frame instance; or two, each from superior to inferior, and of the class of converted images."""
    if layout != "enhanced_split":
        path = _write_multi_frame(folder / "enhanced.dcm", headers, EnhancedCTImageStorage)
        return [(path, number) for number in range(1, len(headers) + 1)]
    cut, places = len(headers) // 3, []
    for name, part in (("lower", headers[:cut]), ("upper", headers[cut:])):
        path = _write_multi_frame(folder / f"{name}.dcm", part[::-1], LegacyConvertedEnhancedCTImageStorage)
        places += [(path, len(part) - k) for k in range(len(part))]
    return places


def _write_multi_frame(path, headers, sop_class):
    whole = Dataset()
    whole.update(copy.deepcopy(headers[0]))
    whole.SOPClassUID = sop_class
    whole.SOPInstanceUID = _uid("enhanced", path.name)
    whole.NumberOfFrames = len(headers)
    measures, orientation, rescale, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = headers[0].PixelSpacing, headers[0].get("SliceThickness", "")
    orientation.ImageOrientationPatient = headers[0].ImageOrientationPatient
    rescale.RescaleIntercept, rescale.RescaleSlope, rescale.RescaleType = 0, 1, "HU"
    shared.PixelValueTransformationSequence = [rescale]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = []
    for header in headers:
        position, groups = Dataset(), Dataset()
        position.ImagePositionPatient = header.ImagePositionPatient
        groups.PlanePositionSequence = [position]
        whole.PerFrameFunctionalGroupsSequence.append(groups)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        if keyword in whole:
            delattr(whole, keyword)
    whole.PixelData = b"".join(header.PixelData for header in headers)
    write_part10(whole, path)
    return path


def write_part10(dataset, path):
    """Write a data set as an Explicit VR Little Endian file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
