"""The SEG: both lungs and the lesions as a binary DICOM Segmentation on the source's own pixel matrix.

Comes from the masks on the canonical grid and the source headers; goes to the writer as a finished data set. Empty
frames and empty segments are left out.
"""

from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence, Volume
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription, SegmentsOverlapValues
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from covnode.errors import ReportInvalid
from covnode.imaging.orientation import to_native
from covnode.records.result import DEMONSTRATION, AnalysisResult, ModelIdentity
from covnode.records.volume import InPlane
from covnode.report import codes
from covnode.report.envelope import MANUFACTURER, Envelope, settle
from covnode.report.segments import Segment
from covnode.report.source import SourceSeries
from covnode.report.uids import result_uids

# An arc that no derived UID has (they start with the digits of a large number), so that no source can have it.
_PLACEHOLDER = "2.25.0."


class _LayeredSegmentation(Segmentation):
    """A Segmentation from one array whose bit ``n - 1`` is segment n.

    highdicom takes overlapping segments (lesions lie in lungs) only as a fourth array axis, which it sums in 64 bits:
    1 GB for 300 slices. The two methods are its private hooks; a test holds them to the masks they must write.
    """

    @classmethod
    def _check_and_cast_pixel_array(
        cls,
        pixel_array: NDArray[Any] | Volume,
        segment_numbers: NDArray[Any],  # noqa: ARG003 (the hook's signature)
        segmentation_type: SegmentationTypeValues,  # noqa: ARG003
        dtype: type,  # noqa: ARG003
    ) -> tuple[NDArray[Any] | Volume, SegmentsOverlapValues]:
        layers = np.asarray(pixel_array)
        overlapping = bool(np.any(layers & (layers - (layers > 0))))
        return layers, SegmentsOverlapValues.YES if overlapping else SegmentsOverlapValues.NO

    @staticmethod
    def _get_segment_pixel_array(
        pixel_array: NDArray[Any],
        segment_number: int,
        described_segment_numbers: NDArray[Any],  # noqa: ARG004 (the hook's signature)
        segmentation_type: SegmentationTypeValues,  # noqa: ARG004
        max_fractional_value: int,  # noqa: ARG004
        dtype: type,
    ) -> NDArray[Any]:
        return ((pixel_array >> np.uint8(segment_number - 1)) & np.uint8(1)).astype(dtype, copy=False)


def build_segmentation(
    source: SourceSeries, segments: tuple[Segment, ...], in_plane: InPlane, result: AnalysisResult, envelope: Envelope
) -> Segmentation:
    """Build the SEG (PS3.3 A.51).

    Parameters
    ----------
    source
        Its slices are those of the masks' first axis.
    segments
        At most 8, with masks of one shape (k, j, i) on the canonical grid.
    in_plane
        How the canonical grid came from the stored pixel matrix.

    Returns
    -------
    Segmentation
        Every frame has the position, orientation and spacing of the source frame that it refers to.

    Raises
    ------
    ReportInvalid
        highdicom finds the source or the masks unfit, for instance two slices at one position.
    """
    layers = _layers(segments, in_plane)
    try:
        dataset = _LayeredSegmentation(
            source_images=_as_single_frames(source),
            pixel_array=layers,
            segmentation_type="BINARY",
            segment_descriptions=[_describe(segment) for segment in segments],
            omit_empty_frames=True,
            content_label="DEMONSTRATION" if result.demonstration else "COVNODE",
            content_description=DEMONSTRATION if result.demonstration else None,
            **envelope.arguments(),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ReportInvalid("the source and the masks make no valid segmentation object") from error
    settle(dataset, envelope, source.header)
    _refer_to_stored_frames(dataset, source)
    organisation_uid = result_uids(result)(envelope.kind, "dimensions")
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = organisation_uid
    for index in dataset.DimensionIndexSequence:
        index.DimensionOrganizationUID = organisation_uid
    return dataset


def _layers(segments: tuple[Segment, ...], in_plane: InPlane) -> NDArray[np.uint8]:
    layers = np.zeros(segments[0].labels_kji.shape, np.uint8)
    for segment in segments:
        layers |= (segment.labels_kji == segment.kind.value).astype(np.uint8) << np.uint8(segment.number - 1)
    return np.ascontiguousarray(to_native(layers, in_plane))


def _describe(segment: Segment) -> SegmentDescription:
    kind = segment.kind
    description = SegmentDescription(
        segment_number=segment.number,
        segment_label=kind.label,
        segmented_property_category=kind.category,
        segmented_property_type=codes.LUNG if kind.is_lung else codes.LESION,
        algorithm_type="AUTOMATIC",
        algorithm_identification=_algorithm(segment.model),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=None if kind.is_lung else [codes.LUNG],
        display_color=CIELabColor.from_rgb(*kind.rgb),
    )
    # PS3.3 C.8.20.2: the modifier is an item of the type's own item; highdicom has no argument for it.
    type_item = description.SegmentedPropertyTypeCodeSequence[0]
    type_item.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(kind.modifier)]
    return description


def _algorithm(model: ModelIdentity) -> AlgorithmIdentificationSequence:
    parameters: dict[str, Any] = {"sha256": model.sha256} if model.sha256 else {}
    return AlgorithmIdentificationSequence(
        name=model.name[:64],
        version=model.version[:64],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        source=MANUFACTURER,
        parameters=parameters or None,
    )


def _as_single_frames(source: SourceSeries) -> list[Dataset]:
    """Tell highdicom that each slice is an image of its own: it takes no mixture of instances and frames."""
    images = []
    for k, item in enumerate(source.slices):
        image = Dataset()
        image.update(item.header)
        # Replaced as elements: setting a value would change the element that the header shares.
        image.add_new("SOPClassUID", "UI", CTImageStorage)
        image.add_new("SOPInstanceUID", "UI", f"{_PLACEHOLDER}{k}")
        images.append(image)
    return images


def _refer_to_stored_frames(dataset: Segmentation, source: SourceSeries) -> None:
    """Put the references to what is stored in the place of those to the single images."""
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        # The frames of several segments share one item, which is done by then.
        if image.ReferencedSOPInstanceUID.startswith(_PLACEHOLDER):
            item = source.slices[int(image.ReferencedSOPInstanceUID.removeprefix(_PLACEHOLDER))]
            image.ReferencedSOPClassUID = item.header.SOPClassUID
            image.ReferencedSOPInstanceUID = item.header.SOPInstanceUID
            if item.frame_number is not None:
                image.ReferencedFrameNumber = item.frame_number
    references = []
    for instance in source.instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID = instance.SOPClassUID
        reference.ReferencedSOPInstanceUID = instance.SOPInstanceUID
        references.append(reference)
    dataset.SourceImageSequence = references
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
