"""Reads a SEG with nothing but pydicom and numpy: its segments, its frames, and its packed bits.

Comes from the final bytes; goes to geometry, references and figures of the interlock.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covnode.interlock.expected import SEGMENTS, Coded, ExpectedSegment
from covnode.interlock.originals import FrameKey, Plane, plane_of, text_of
from covnode.interlock.refusals import Rule, refusal


@dataclass(frozen=True)
class SegFrame:
    """One frame: its segment, its own plane, and the original frame it says it was derived from."""

    index: int
    segment_number: int
    plane: Plane
    source: FrameKey
    source_sop_class_uid: str


@dataclass(frozen=True)
class SegSegment:
    """One segment, with what it is expected to be by its codes."""

    number: int
    expected: ExpectedSegment
    tracking_id: str
    tracking_uid: str


@dataclass(frozen=True)
class Seg:
    """One Segmentation object."""

    dataset: Dataset
    segments: tuple[SegSegment, ...]
    frames: tuple[SegFrame, ...]

    @property
    def sop_instance_uid(self) -> str:
        """Of the object."""
        return str(self.dataset.SOPInstanceUID)

    def mask(self, frame: SegFrame) -> NDArray[np.bool_]:
        """Decode one frame: shape (rows, columns).

        Frames follow each other without padding, the first pixel in the lowest bit (PS3.5 8.1.1, D.3).
        """
        plane = frame.plane
        pixels = plane.rows * plane.columns
        first, end = frame.index * pixels, (frame.index + 1) * pixels
        packed = np.frombuffer(self.dataset.PixelData, np.uint8)[first // 8 : -(-end // 8)]
        bits = np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + pixels]
        return bits.view(np.bool_).reshape(plane.rows, plane.columns)


def read_seg(dataset: Dataset) -> Seg:
    """Take a SEG apart.

    Raises
    ------
    DeliveryRefused
        ``encoding`` when it is no uncompressed binary SEG of the stated size; ``segment_numbers``, ``segment_codes``
        or ``tracking`` when a segment is not one that we write; ``geometry`` or ``references`` when a frame does not
        say where it lies or what it was derived from.
    """
    _require_plain_bits(dataset)
    segments = tuple(_segment(item) for item in dataset.SegmentSequence)
    numbers = [segment.number for segment in segments]
    if numbers != list(range(1, len(segments) + 1)):
        raise refusal(Rule.SEGMENT_NUMBERS, f"the segments are numbered {numbers}")
    if len({segment.expected.modifier for segment in segments}) != len(segments):
        raise refusal(Rule.SEGMENT_CODES, "two segments have the same codes")
    if len({segment.tracking_uid for segment in segments}) != len(segments):
        raise refusal(Rule.TRACKING, "two segments have the same tracking UID")
    frames = tuple(_frame(dataset, index) for index in range(int(dataset.NumberOfFrames)))
    if any(frame.segment_number not in numbers for frame in frames):
        raise refusal(Rule.SEGMENT_NUMBERS, "a frame belongs to no segment")
    return Seg(dataset, segments, frames)


def code_of(dataset: Dataset, keyword: str) -> Coded:
    """Value and scheme of the single code in a sequence; empty strings when there is none."""
    items = dataset.get(keyword)
    if not items or len(items) != 1:
        return ("", "")
    return (text_of(items[0], "CodeValue"), text_of(items[0], "CodingSchemeDesignator"))


def _require_plain_bits(dataset: Dataset) -> None:
    if dataset.file_meta.TransferSyntaxUID.is_compressed or text_of(dataset, "SegmentationType") != "BINARY":
        raise refusal(Rule.ENCODING, "the segmentation is not an uncompressed binary one")
    stated_bits = int(dataset.NumberOfFrames) * int(dataset.Rows) * int(dataset.Columns)
    length = len(dataset.get("PixelData") or b"")
    expected_length = -(-stated_bits // 8)
    expected_length += expected_length % 2
    if dataset.BitsAllocated != 1 or length != expected_length:
        raise refusal(Rule.ENCODING, f"the pixel data are {length} bytes, {expected_length} were to be expected")
    if len(dataset.PerFrameFunctionalGroupsSequence) != int(dataset.NumberOfFrames):
        raise refusal(Rule.ENCODING, "the number of frames and of their functional groups differ")


def _segment(item: Dataset) -> SegSegment:
    types = item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    modifier = code_of(types[0], "SegmentedPropertyTypeModifierCodeSequence")
    expected = next((segment for segment in SEGMENTS if segment.modifier == modifier), None)
    number = int(item.SegmentNumber)
    if (
        expected is None
        or code_of(item, "SegmentedPropertyTypeCodeSequence") != expected.property_type
        or code_of(item, "SegmentedPropertyCategoryCodeSequence") != expected.category
        or text_of(item, "SegmentLabel") != expected.label
    ):
        raise refusal(Rule.SEGMENT_CODES, f"category, type, modifier and label of segment {number} do not go together")
    tracking_id, tracking_uid = text_of(item, "TrackingID"), text_of(item, "TrackingUID")
    if not tracking_id or not tracking_uid:
        raise refusal(Rule.TRACKING, f"segment {number} of the segmentation has no tracking identity")
    return SegSegment(number, expected, tracking_id, tracking_uid)


def _frame(dataset: Dataset, index: int) -> SegFrame:
    own = dataset.PerFrameFunctionalGroupsSequence[index]
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]

    def group(keyword: str) -> Dataset:
        items = own.get(keyword) or shared.get(keyword) or [Dataset()]
        first: Dataset = items[0]
        return first

    plane = plane_of(
        group("PlanePositionSequence"),
        group("PlaneOrientationSequence"),
        group("PixelMeasuresSequence"),
        (int(dataset.Rows), int(dataset.Columns)),
    )
    if plane is None:
        raise refusal(Rule.GEOMETRY, f"frame {index + 1} of the segmentation does not say where it lies")
    sources = group("DerivationImageSequence").get("SourceImageSequence") or []
    if len(sources) != 1:
        raise refusal(Rule.REFERENCES, f"frame {index + 1} of the segmentation refers to {len(sources)} source images")
    source = sources[0]
    number = source.get("ReferencedFrameNumber")
    return SegFrame(
        index=index,
        segment_number=int(group("SegmentIdentificationSequence").get("ReferencedSegmentNumber") or 0),
        plane=plane,
        source=(text_of(source, "ReferencedSOPInstanceUID"), None if number is None else int(number)),
        source_sop_class_uid=text_of(source, "ReferencedSOPClassUID"),
    )
