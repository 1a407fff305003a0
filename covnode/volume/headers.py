"""Reads the header of each file of a series, once.

Comes from loading (files of a DeidentifiedSeries); goes to selection as Frame records. Judges only whether a file is
readable; never reads pixel data.
"""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from covnode.dicom.reading import FileHeader, quietly, read_header
from covnode.dicom.values import integer, items, numbers, text, texts
from covnode.errors import NotDicom, TransientError
from covnode.volume.frames import ABSENT, Frame, Image, PixelFormat
from covnode.volume.functional_groups import KEYWORDS as MULTI_FRAME_KEYWORDS
from covnode.volume.functional_groups import frames_of, rescale_of

MULTI_FRAME_CLASSES = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
CT_CLASSES = MULTI_FRAME_CLASSES | {CTImageStorage}

_METHOD, _CLEAN_PIXELS = "DeidentificationMethodCodeSequence", "113101"  # PS3.16 CID 7050

_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "FrameOfReferenceUID",
    "BodyPartExamined",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "AcquisitionTime",
    "ConvolutionKernel",
    "DeidentificationMethod",
    _METHOD,
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    *MULTI_FRAME_KEYWORDS,
)


def read_frames(files: Sequence[Path]) -> tuple[Frame, ...]:
    """Describe every frame of every file, in the order of the files.

    Raises
    ------
    NotDicom
        When any file cannot be read: a slice is never dropped silently.
    TransientError
        When the storage fails.
    """
    frames: list[Frame] = []
    unreadable = 0
    with quietly():
        for path in files:
            try:
                frames.extend(_frames_of_file(path, read_header(path, _KEYWORDS)))
            except NotDicom:
                unreadable += 1
            except OSError as error:
                raise TransientError("a file of the series cannot be read from storage") from error
    if not files:
        raise NotDicom("the series holds no file")
    if unreadable:
        raise NotDicom(f"{unreadable} of {len(files)} files of the series cannot be read as DICOM")
    return tuple(frames)


def _frames_of_file(path: Path, header: FileHeader) -> tuple[Frame, ...]:
    dataset = header.dataset
    image = _image(path, header)
    if image.sop_class_uid in MULTI_FRAME_CLASSES:
        return frames_of(dataset, image)
    return (
        Frame(
            image=image,
            number=None,
            image_type=texts(dataset, "ImageType"),
            position_lps_mm=numbers(dataset, "ImagePositionPatient", 3),
            orientation=numbers(dataset, "ImageOrientationPatient", 6),
            pixel_spacing_mm=numbers(dataset, "PixelSpacing", 2),
            rescale=rescale_of(dataset),
            rescale_type=text(dataset, "RescaleType"),
            acquisition_number=integer(dataset, "AcquisitionNumber"),
            temporal_position=integer(dataset, "TemporalPositionIdentifier"),
            acquisition_time=text(dataset, "AcquisitionTime"),
            convolution_kernel=text(dataset, "ConvolutionKernel"),
        ),
    )


def _image(path: Path, header: FileHeader) -> Image:
    dataset = header.dataset
    return Image(
        path=path,
        sop_class_uid=text(dataset, "SOPClassUID") or "",
        sop_instance_uid=text(dataset, "SOPInstanceUID") or "",
        modality=text(dataset, "Modality"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        body_part=text(dataset, "BodyPartExamined"),
        instance_number=integer(dataset, "InstanceNumber"),
        transfer_syntax_uid=header.transfer_syntax_uid,
        pixel_format=_pixel_format(dataset),
        pixels=header.pixels if header.pixels and header.pixels.length else None,
        extended_offsets=_extended_offsets(dataset),
        frame_count=integer(dataset, "NumberOfFrames") or 1,
        is_masked=_is_masked(dataset),
    )


def _is_masked(dataset: Dataset) -> bool:
    """Whether our own de-identification overwrote text in the pixels."""
    is_ours = (text(dataset, "DeidentificationMethod") or "").startswith("covnode")
    return is_ours and any(text(item, "CodeValue") == _CLEAN_PIXELS for item in items(dataset, _METHOD))


def _pixel_format(dataset: Dataset) -> PixelFormat:
    def stated(keyword: str) -> int:
        value = integer(dataset, keyword)
        return ABSENT if value is None else value

    return PixelFormat(
        rows=stated("Rows"),
        columns=stated("Columns"),
        samples_per_pixel=stated("SamplesPerPixel"),
        photometric_interpretation=text(dataset, "PhotometricInterpretation"),
        bits_allocated=stated("BitsAllocated"),
        bits_stored=stated("BitsStored"),
        high_bit=stated("HighBit"),
        pixel_representation=stated("PixelRepresentation"),
        padding_value=integer(dataset, "PixelPaddingValue"),
        padding_limit=integer(dataset, "PixelPaddingRangeLimit"),
    )


def _extended_offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return (offsets, lengths) if isinstance(offsets, bytes) and isinstance(lengths, bytes) else None
