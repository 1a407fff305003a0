"""Makes tiny CT series whose value at every point of the patient is known, by the equation of PS3.3 C.7.6.2.1.1."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from covnode.records.series import DeidentifiedSeries

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def field_hu(points_lps_mm):
    """The patient: Hounsfield units at LPS points of shape (..., 3); no symmetry, no two axes alike."""
    return np.rint(points_lps_mm @ np.array([9.1, 17.3, 5.7]))


def decimal_strings(values):
    return [format_number_as_ds(float(value)) for value in values]


@dataclass
class Recipe:
    """How a series is stored: slices along their normal, or along `stacked_along`; `change` may spoil each data set."""

    row: tuple[float, ...] = AXIAL[0]
    column: tuple[float, ...] = AXIAL[1]
    pixel_spacing_mm: tuple[float, float] = (0.7, 0.9)
    slice_spacing_mm: float = 2.5
    stacked_along: tuple[float, ...] | None = None
    origin_lps_mm: tuple[float, ...] = (-8.0, -6.5, -20.0)
    rows: int = 10
    columns: int = 12
    count: int = 12
    change: Callable[[Dataset, int], None] = field(default=lambda dataset, index: None)
    file_order: Callable[[int], int] = field(default=lambda index: index)

    def positions(self):
        axis = np.cross(self.row, self.column) if self.stacked_along is None else np.array(self.stacked_along)
        return [
            np.array(self.origin_lps_mm) + index * self.slice_spacing_mm * axis / np.linalg.norm(axis)
            for index in range(self.count)
        ]

    def points(self, position):
        """LPS of every stored pixel, shape (rows, columns, 3)."""
        r, c = np.mgrid[: self.rows, : self.columns]
        along_row = np.array(self.row) * self.pixel_spacing_mm[1]
        along_column = np.array(self.column) * self.pixel_spacing_mm[0]
        return position + c[..., None] * along_row + r[..., None] * along_column


def ct_dataset(recipe, index):
    position = recipe.positions()[index]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Manufacturer, dataset.ManufacturerModelName = "Maker", "Model"
    dataset.ConvolutionKernel, dataset.KVP, dataset.SliceThickness = "B40f", "120", "2.5"
    dataset.PatientName, dataset.PatientID = "SENTINEL^NAME", "SENTINEL-ID"
    dataset.InstanceNumber = index + 1
    dataset.AcquisitionNumber = 1
    dataset.ImagePositionPatient = decimal_strings(position)
    dataset.ImageOrientationPatient = decimal_strings((*recipe.row, *recipe.column))
    dataset.PixelSpacing = decimal_strings(recipe.pixel_spacing_mm)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = recipe.rows, recipe.columns, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    stored = field_hu(recipe.points(position)) + 1024
    dataset.PixelData = stored.astype("<u2").tobytes()
    return dataset


def write(dataset, path):
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)


def series_of(folder: Path) -> DeidentifiedSeries:
    return DeidentifiedSeries("s1", 1, tuple(sorted(folder.glob("*.dcm"))), "0" * 64)
