"""What the headers of one series say about each stored frame: the records that the rest of the stage works on.

Filled by headers and functional_groups; read by selection, geometry and pixels. No I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covnode.dicom.reading import PixelLocation
from covnode.dicom.stored_frames import StoredFrames

Vector = tuple[float, ...]

ABSENT = -1


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a pixel is stored (PS3.3 C.7.6.3); ABSENT where a number is absent or malformed.

    Attributes
    ----------
    padding_value, padding_limit
        As in the file, whatever VR the writer gave them (PS3.3 C.7.5.1.1.2).
    """

    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str | None
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    padding_value: int | None
    padding_limit: int | None

    @property
    def frame_bytes(self) -> int:
        """Size of one uncompressed frame (PS3.5 section 8.1.1)."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True, slots=True)
class Image:
    """One instance.

    Attributes
    ----------
    extended_offsets
        Extended Offset Table and its lengths as stored (PS3.3 C.7.6.3.1.8), where present.
    is_masked
        Whether the de-identification overwrote text in its pixels.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    modality: str | None
    frame_of_reference_uid: str | None
    body_part: str | None
    instance_number: int | None
    transfer_syntax_uid: str
    pixel_format: PixelFormat
    pixels: PixelLocation | None
    extended_offsets: tuple[bytes, bytes] | None
    frame_count: int
    is_masked: bool

    @property
    def stored(self) -> StoredFrames:
        """Where its frames lie."""
        return StoredFrames(
            self.path,
            self.transfer_syntax_uid,
            self.pixels,
            self.pixel_format.frame_bytes,
            self.frame_count,
            self.extended_offsets,
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of an instance.

    Attributes
    ----------
    number
        1-based in a multi-frame instance, None in a single-frame one.
    image_type
        Image Type, or Frame Type in a multi-frame instance.
    position_lps_mm
        Image Position (Patient).
    orientation
        Image Orientation (Patient): row cosines, then column cosines.
    pixel_spacing_mm
        Pixel Spacing: distance of rows, then of columns.
    rescale, rescale_type
        Slope and intercept, where both are there (PS3.3 C.11.1.1.2).
    acquisition_number, temporal_position, acquisition_time, convolution_kernel
        What may tell two stacks of one series apart.
    """

    image: Image
    number: int | None
    image_type: tuple[str, ...]
    position_lps_mm: Vector | None
    orientation: Vector | None
    pixel_spacing_mm: Vector | None
    rescale: tuple[float, float] | None
    rescale_type: str | None
    acquisition_number: int | None
    temporal_position: int | None
    acquisition_time: str | None
    convolution_kernel: str | None

    @property
    def name(self) -> str:
        """What a person finds the frame by: never a UID."""
        instance = "without Instance Number" if self.image.instance_number is None else f"{self.image.instance_number}"
        return f"instance {instance}" if self.number is None else f"frame {self.number} of instance {instance}"


def named(frames: Sequence[Frame]) -> str:
    """Names of up to three frames and how many more there are."""
    shown = ", ".join(frame.name for frame in frames[:3])
    return shown if len(frames) <= 3 else f"{shown} and {len(frames) - 3} more"
