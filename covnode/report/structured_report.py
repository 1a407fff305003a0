"""The measurement SR: a Comprehensive 3D SR by TID 1500, one group a segment and one for the study.

Comes from the result record, the segments and the finished SEG; goes to the writer as a finished data set.
"""

from collections.abc import Iterable

from highdicom import sr
from highdicom.sr import CodedConcept
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from covnode import __version__
from covnode.errors import ReportInvalid
from covnode.records.result import AnalysisResult, ModelIdentity
from covnode.report import codes
from covnode.report.envelope import DEVICE_UID, MANUFACTURER, Envelope, settle
from covnode.report.figures import DECIMALS, list_figures, list_missing, model_of, withheld_tasks
from covnode.report.segments import Segment
from covnode.report.source import SourceSeries
from covnode.report.statements import list_statements
from covnode.report.uids import result_uids


def build_report(
    source: SourceSeries,
    segmentation: Dataset,
    segments: tuple[Segment, ...],
    result: AnalysisResult,
    envelope: Envelope,
) -> sr.Comprehensive3DSR:
    """Build one SR (PS3.3 A.35.13, PS3.16 TID 1500).

    Parameters
    ----------
    segmentation
        The finished SEG of the same result; the groups refer to its segments.
    envelope
        Its kind decides whether figures of demonstration models are in.

    Returns
    -------
    Comprehensive3DSR
        Unverified and preliminary; complete unless a figure that belongs into it was not computed.

    Raises
    ------
    ReportInvalid
        highdicom finds the content unfit.
    """
    try:
        content = _report_content(source, segmentation, segments, result, envelope)
        missing = list_missing(result, envelope.kind)
        dataset = sr.Comprehensive3DSR(
            evidence=[*source.instances, segmentation],
            content=content,
            is_complete=not missing,
            is_final=False,
            is_verified=False,
            **envelope.arguments(),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ReportInvalid("the result makes no valid structured report") from error
    if missing:
        dataset.CompletionFlagDescription = "not computed, or the model abstains"
    settle(dataset, envelope, source.header)
    return dataset


def _report_content(
    source: SourceSeries,
    segmentation: Dataset,
    segments: tuple[Segment, ...],
    result: AnalysisResult,
    envelope: Envelope,
) -> sr.MeasurementReport:
    groups = [_segment_group(segment, segmentation, source) for segment in segments]
    report = sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=codes.CT_PROCEDURE,
        imaging_measurements=[*groups, _study_group(result, envelope)],
        title=codes.MEASUREMENT_REPORT,
    )
    items = report[0].ContentSequence
    # TID 1500 row 5 stands before the measurements; highdicom's own library repeats the geometry of every image.
    items.insert(len(items) - 1, _image_library(source))
    items.append(_evaluations(result, envelope))
    return report


def _observer() -> sr.ObservationContext:
    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=DEVICE_UID, name="covnode", manufacturer_name=MANUFACTURER, model_name=f"covnode {__version__}"
    )
    device = CodedConcept("121007", "DCM", "Device")
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(observer_type=device, observer_identifying_attributes=attributes)
    )


def _image_library(source: SourceSeries) -> sr.ContainerContentItem:
    """TID 1600 with one group; its shared descriptors are the modality and the frame of reference (TID 1602)."""
    group = sr.ContainerContentItem(name=codes.IMAGE_LIBRARY_GROUP, relationship_type=Relationship.CONTAINS)
    group.ContentSequence = sr.ContentSequence(
        [
            sr.CodeContentItem(
                name=codes.MODALITY,
                value=codes.COMPUTED_TOMOGRAPHY,
                relationship_type=Relationship.HAS_ACQ_CONTEXT,
            ),
            sr.UIDRefContentItem(
                name=codes.FRAME_OF_REFERENCE_UID,
                value=source.header.FrameOfReferenceUID,
                relationship_type=Relationship.HAS_ACQ_CONTEXT,
            ),
        ]
    )
    for image in source.instances:
        item = sr.ImageContentItem(
            name=codes.SOURCE_IMAGE,
            referenced_sop_class_uid=image.SOPClassUID,
            referenced_sop_instance_uid=image.SOPInstanceUID,
            relationship_type=Relationship.CONTAINS,
        )
        group.ContentSequence.append(item)
    library = sr.ContainerContentItem(name=codes.IMAGE_LIBRARY, relationship_type=Relationship.CONTAINS)
    library.ContentSequence = sr.ContentSequence([group])
    return library


def _segment_group(
    segment: Segment, segmentation: Dataset, source: SourceSeries
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    kind = segment.kind
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=segment.tracking_uid, identifier=segment.tracking_id),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=segment.number,
            source_series=sr.SourceSeriesForSegmentation(source.header.SeriesInstanceUID),
        ),
        finding_category=kind.category,
        finding_type=codes.LUNG if kind.is_lung else kind.modifier,
        finding_sites=[sr.FindingSite(codes.LUNG, laterality=kind.modifier if kind.is_lung else None)],
        algorithm_id=_algorithm(segment.model),
        measurements=[] if segment.volume_ml is None else [_volume(segment.volume_ml)],
    )


def _volume(volume_ml: float) -> sr.Measurement:
    return sr.Measurement(name=codes.VOLUME, value=round(volume_ml, DECIMALS), unit=codes.MILLILITRE)


def _study_group(result: AnalysisResult, envelope: Envelope) -> sr.MeasurementsAndQualitativeEvaluations:
    measurements = []
    for figure in list_figures(result, envelope.kind):
        model = model_of(result, figure.task)
        measurements.append(
            sr.Measurement(
                name=figure.concept,
                value=figure.value,
                unit=figure.unit,
                algorithm_id=None if model is None else _algorithm(model),
            )
        )
    category = result.severity_category
    evaluations = []
    if category is not None and "severity" not in withheld_tasks(result, envelope.kind):
        evaluations.append(sr.QualitativeEvaluation(codes.SEVERITY, codes.SEVERITY_CATEGORIES[category]))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=result_uids(result)("tracking", "study"), identifier="Both lungs"
        ),
        finding_sites=[sr.FindingSite(codes.LUNG)],
        measurements=measurements,
        qualitative_evaluations=evaluations or None,
    )


def _evaluations(result: AnalysisResult, envelope: Envelope) -> sr.ContainerContentItem:
    """Hold the sentences (TID 1500 rows 12 and 14)."""
    container = sr.ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type=Relationship.CONTAINS)
    container.ContentSequence = sr.ContentSequence(_texts(codes.COMMENT, list_statements(result, envelope.kind)))
    return container


def _texts(name: Code, values: Iterable[str]) -> list[sr.TextContentItem]:
    return [sr.TextContentItem(name=name, value=value, relationship_type=Relationship.CONTAINS) for value in values]


def _algorithm(model: ModelIdentity) -> sr.AlgorithmIdentification:
    """TID 4019, with the digest of the weights and the training data as parameters."""
    parameters = [f"training data: {model.training_data}"]
    if model.sha256:
        parameters.insert(0, f"sha256: {model.sha256}")
    return sr.AlgorithmIdentification(
        name=model.name, version=model.version, parameters=parameters, family=codes.ARTIFICIAL_INTELLIGENCE
    )
