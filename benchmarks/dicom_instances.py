"""CT instances without end, made by patching one encoded data set, and the digests by which to find them again.

For the sender of the benchmarks and of the tests that push hard.
"""

import struct
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from xxhash import xxh3_128

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

_UID_STEM = "2.25.3"
_UID_DIGITS = 36
_NOT_KEPT = {"incoming", "damaged", "commitments"}


def uid_value(uid: str) -> bytes:
    """Encode a UID at even length."""
    return uid.encode() + b"\0" * (len(uid) % 2)


@dataclass(frozen=True)
class SyntheticSeries:
    """CT instances of one series, made by patching one encoded data set: UIDs, instance number and eight pixels."""

    number: int
    size: int = 512

    def uid(self, instance: int) -> str:
        """Return the SOP Instance UID."""
        return f"{_UID_STEM}{self.number * 10**7 + instance + 1:0{_UID_DIGITS}d}"

    def data_set(self, instance: int) -> bytes:
        """Return the bytes of a data set (explicit VR little endian)."""
        data = bytearray(self._template)
        self.patch(data, 0, instance)
        return bytes(data)

    def digest(self, instance: int) -> str:
        """Return the digest of a data set's bytes."""
        return digest_of(self.data_set(instance))

    def patch(self, buffer: bytearray, start: int, instance: int) -> None:
        """Make the data set that begins at ``start`` of ``buffer`` that of an instance."""
        for place, value in zip(self._places, self._values(instance), strict=True):
            buffer[start + place : start + place + len(value)] = value

    def _values(self, instance: int) -> tuple[bytes, ...]:
        return (
            uid_value(self.uid(instance)),
            f"{instance + 1:06d}".encode(),
            f"{instance:010.1f}".encode(),
            struct.pack("<QQ", self.number, instance),
        )

    @cached_property
    def _template(self) -> bytes:
        return _encoded(self.number, self.size, self.uid(0))

    @cached_property
    def _places(self) -> tuple[int, ...]:
        data = self._template
        return (
            data.index(uid_value(self.uid(0))),
            data.index(b"424242"),
            data.index(b"12345678.5"),
            len(data) - 2 * self.size**2,
        )


def _encoded(number: int, size: int, sop_uid: str) -> bytes:
    """Encode a CT Image of plausible length and attributes, with placeholders where each instance differs."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CT_IMAGE, sop_uid, "CT"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.StudyID, ds.PatientID = f"ACC-{number}", "1", f"BENCH-{number}"
    ds.PatientName, ds.PatientBirthDate, ds.PatientSex = f"Bench^{number}", "19700101", "O"
    ds.Manufacturer, ds.ManufacturerModelName, ds.ReferringPhysicianName = "sender", "synthetic", ""
    ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "benchmark", "synthetic CT", "CHEST"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{_UID_STEM}1{number:035d}", f"{_UID_STEM}2{number:035d}"
    ds.FrameOfReferenceUID = f"{_UID_STEM}4{number:035d}"
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber, ds.PatientPosition = 2, 1, "424242", "HFS"
    ds.ImagePositionPatient = ["-180", "-180", "12345678.5"]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing, ds.SliceThickness, ds.KVP, ds.ConvolutionKernel = ["0.7", "0.7"], "1", "120", "B"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "-500", "1500"
    ds.add_new(0x7FE00010, "OW", np.random.default_rng(number).integers(0, 4096, size**2, "<u2").tobytes())
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return bytes(buffer.getvalue())


def kept_digests(spool: Path) -> Counter[str]:
    """Return the digests of the data sets of all Part 10 files that covnode's spool keeps, and how often each is there.

    What is still coming in does not count.
    """
    files = (path for path in spool.rglob("*.dcm") if path.relative_to(spool).parts[0] not in _NOT_KEPT)
    return Counter(data_set_digest(path) for path in files)


def digest_of(data: bytes) -> str:
    """Digest the bytes of a data set as the spool does: BLAKE3, with its name."""
    return f"x3-{xxh3_128(data).hexdigest()}"


def data_set_digest(path: Path) -> str:
    """Digest what lies behind the preamble and the file meta information of a Part 10 file."""
    data = path.read_bytes()
    if data[128:140] != b"DICM" + struct.pack("<HH2sH", 2, 0, b"UL", 4):
        return "no Part 10 file"
    meta_bytes = struct.unpack_from("<I", data, 140)[0]
    return digest_of(data[144 + meta_bytes :])
