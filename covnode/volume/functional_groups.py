"""Frames of an Enhanced CT or Legacy Converted Enhanced CT instance, from its functional groups (PS3.3 C.7.6.16).

Called by headers and acquisition; goes to selection as Frame records. A group is the frame's own, else the shared one.
"""

from collections.abc import Callable

from pydicom.dataset import Dataset

from covnode.dicom.values import integer, items, number, numbers, text, texts
from covnode.errors import GeometryMissing
from covnode.volume.frames import Frame, Image

KEYWORDS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

Groups = Callable[[str], Dataset]
"""From the keyword of a functional group to its first item, empty where there is none."""


def frames_of(dataset: Dataset, image: Image) -> tuple[Frame, ...]:
    """One record a frame, in stored order.

    Raises
    ------
    GeometryMissing
        When the functional groups do not describe each frame.
    """
    described = len(items(dataset, "PerFrameFunctionalGroupsSequence"))
    if described != image.frame_count:
        raise GeometryMissing(
            f"a multi-frame instance describes {described} of its {image.frame_count} frames "
            "(Per-Frame Functional Groups Sequence)"
        )
    return tuple(_frame(groups_of_frame(dataset, index), image, index) for index in range(1, described + 1))


def groups_of_frame(dataset: Dataset, frame_number: int) -> Groups:
    """Functional groups of one frame, counted from 1."""
    own = items(dataset, "PerFrameFunctionalGroupsSequence")[frame_number - 1]
    shared = items(dataset, "SharedFunctionalGroupsSequence")

    def group(keyword: str) -> Dataset:
        found = items(own, keyword) or (items(shared[0], keyword) if shared else ())
        return found[0] if found else Dataset()

    return group


def rescale_of(dataset: Dataset) -> tuple[float, float] | None:
    """Rescale Slope and Rescale Intercept, where both are there."""
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    return None if slope is None or intercept is None else (slope, intercept)


def _frame(group: Groups, image: Image, frame_number: int) -> Frame:
    rescale, content = group("PixelValueTransformationSequence"), group("FrameContentSequence")
    return Frame(
        image=image,
        number=frame_number,
        image_type=texts(group("CTImageFrameTypeSequence"), "FrameType"),
        position_lps_mm=numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        pixel_spacing_mm=numbers(group("PixelMeasuresSequence"), "PixelSpacing", 2),
        rescale=rescale_of(rescale),
        rescale_type=text(rescale, "RescaleType"),
        acquisition_number=integer(content, "FrameAcquisitionNumber"),
        temporal_position=integer(content, "TemporalPositionIndex"),
        acquisition_time=text(content, "FrameAcquisitionDateTime"),
        convolution_kernel=text(group("CTReconstructionSequence"), "ConvolutionKernel"),
    )
