"""Part 10 files and the multipart bodies that carry them."""

from io import BytesIO

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

BOUNDARY = "covnode-boundary"
STUDY = "1.2.3"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def part10(number=1, *, pixels=b"\1\0" * 32, transfer_syntax=ExplicitVRLittleEndian, **changes):
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"1.2.3.4.{number}"
    ds.StudyInstanceUID = STUDY
    ds.SeriesInstanceUID = "1.2.3.9"
    ds.PatientID = "P1"
    ds.PatientName = "Doe^Jane"
    ds.PixelData = pixels
    ds["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def data_set_of(file):
    """The bytes behind the file meta information."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def multipart(*files, headers="Content-Type: application/dicom\r\n", end=True):
    parts = [f"\r\n--{BOUNDARY}\r\n{headers}\r\n".encode() + file for file in files]
    return b"".join(parts) + (f"\r\n--{BOUNDARY}--\r\n".encode() if end else b"")
