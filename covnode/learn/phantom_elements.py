"""Values that single-frame and enhanced phantoms write alike. Used by phantom_dicom and phantom_enhanced."""

from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat


def decimals(*values: float) -> list[DSfloat]:
    """Values as Decimal Strings of at most 16 characters."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def set_pixels(dataset: Dataset, shape: tuple[int, ...]) -> None:
    """Describe 12-bit unsigned grey pixels of shape (rows, columns) (PS3.3 C.7.6.3)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
