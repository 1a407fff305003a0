"""Whether an SR says what the record says: title, segments, units and every number, and nothing that it must not.

Comes from the SR's content tree, the SEG as read and the result record; ends in silence or a refusal.
"""

from collections.abc import Iterable

import numpy as np
from pydicom.dataset import Dataset

from covnode.imaging.mask_file import StoredMasks
from covnode.interlock import expected
from covnode.interlock.expected import FIGURES, MILLILITRE, Coded
from covnode.interlock.identity import check_frame_of_reference
from covnode.interlock.originals import Originals, text_of
from covnode.interlock.refusals import Rule, refusal
from covnode.interlock.report_tree import Item, groups_of, root_of
from covnode.interlock.segmentation import Seg, SegSegment, code_of
from covnode.records.result import DEMONSTRATION, AnalysisResult, ObjectKind

_SEGMENT_TEMPLATE = "1411"
_STUDY_TEMPLATE = "1501"
_WITHHOLDABLE_TASKS = ("classification", "severity")


def check_volumes(seg: Seg, masks: StoredMasks, result: AnalysisResult) -> None:
    """Compare the record's volume of each segment with the voxels that the SEG was found to show.

    Raises
    ------
    DeliveryRefused
        ``figure``.
    """
    voxel_ml = abs(float(np.linalg.det(masks.affine_lps_mm[:3, :3]))) / 1000.0
    for segment in seg.segments:
        labels = masks.lung_labels if segment.expected.mask == "lungs" else masks.lesion_labels
        shown_ml = np.count_nonzero(labels == segment.expected.value) * voxel_ml
        stated_ml = segment.expected.volume_ml(result)
        limit_ml = expected.VOLUME_TOLERANCE_ML + expected.VOLUME_RELATIVE_TOLERANCE * shown_ml
        if stated_ml is not None and abs(stated_ml - shown_ml) > limit_ml:
            raise refusal(
                Rule.FIGURE, f"segment {segment.number} shows {shown_ml:.2f} ml, the record says {stated_ml:.2f} ml"
            )


def check_report(kind: ObjectKind, dataset: Dataset, seg: Seg, result: AnalysisResult, originals: Originals) -> None:
    """Hold one SR against the record and the SEG.

    Raises
    ------
    DeliveryRefused
        ``title``, ``verification``, ``demonstration_phrase``, ``caution``, ``demonstration_figure``,
        ``segment_reference``, ``tracking``, ``segment_codes``, ``references``, ``frame_of_reference``, ``unit`` or
        ``figure``.
    """
    root = root_of(dataset)
    if root.concept != expected.TITLE or root.template != "1500":
        raise refusal(Rule.TITLE, f"{kind} is not an imaging measurement report")
    if text_of(dataset, "VerificationFlag") != "UNVERIFIED":
        raise refusal(Rule.VERIFICATION, f"{kind} says that a person has verified it")
    items = list(root.descendants())
    texts = [text_of(item.dataset, "TextValue") for item in items if item.value_type == "TEXT"]
    if result.demonstration and not any(DEMONSTRATION in text for text in texts):
        raise refusal(Rule.DEMONSTRATION_PHRASE, f"{kind} does not say in its text that it is a demonstration")
    if any(f"Caution: {caution}".rstrip(" =\0") not in texts for caution in result.cautions):
        raise refusal(Rule.CAUTION, f"{kind} does not say every caution of the record")
    for item in items:
        if item.concept == expected.FRAME_OF_REFERENCE:
            check_frame_of_reference(kind, text_of(item.dataset, "UID"), originals)
    _refuse_withheld(kind, items, result)
    _check_segment_groups(kind, groups_of(root, _SEGMENT_TEMPLATE), seg, result, originals)
    study_groups = groups_of(root, _STUDY_TEMPLATE)
    if len(study_groups) != 1:
        raise refusal(Rule.FIGURE, f"{kind} has {len(study_groups)} groups of figures of the study")
    _check_study_group(kind, study_groups[0], result)
    grouped = [item for group in groups_of(root, _SEGMENT_TEMPLATE) + study_groups for item in group.children()]
    if _count(items) != _count(grouped):
        raise refusal(Rule.FIGURE, f"{kind} holds numbers outside of its groups")


def _count(items: Iterable[Item]) -> int:
    return sum(item.value_type == "NUM" for item in items)


def _withheld_tasks(kind: ObjectKind, result: AnalysisResult) -> set[str]:
    if kind is ObjectKind.SR_WITH_DEMONSTRATION:
        return set()
    return {model.task for model in result.models if model.demonstration} & set(_WITHHOLDABLE_TASKS)


def _refuse_withheld(kind: ObjectKind, items: Iterable[Item], result: AnalysisResult) -> None:
    withheld = _withheld_tasks(kind, result)
    concepts = {figure.concept for figure in FIGURES if figure.task in withheld}
    if "severity" in withheld:
        concepts.add(expected.SEVERITY)
    if any(item.concept in concepts for item in items):
        raise refusal(Rule.DEMONSTRATION_FIGURE, f"{kind} holds a figure of a demonstration model")


def _check_segment_groups(
    kind: ObjectKind, groups: list[Item], seg: Seg, result: AnalysisResult, originals: Originals
) -> None:
    segment_of = {segment.number: segment for segment in seg.segments}
    numbers = [_referenced_segment(kind, group, seg) for group in groups]
    if sorted(numbers) != sorted(segment_of):
        raise refusal(Rule.SEGMENT_REFERENCE, f"{kind} refers to segments {numbers}")
    for number, group in zip(numbers, groups, strict=True):
        segment = segment_of[number]
        identity = (group.text("TEXT", expected.TRACKING_ID), group.text("UIDREF", expected.TRACKING_UID))
        if identity != (segment.tracking_id, segment.tracking_uid):
            raise refusal(Rule.TRACKING, f"{kind}: the tracking identity of segment {number} is not the segmentation's")
        if group.text("UIDREF", expected.SOURCE_SERIES) != originals.values["SeriesInstanceUID"]:
            raise refusal(Rule.REFERENCES, f"{kind}: segment {number} names another source series")
        _check_laterality(kind, group, segment)
        _check_number(kind, group, (expected.VOLUME, MILLILITRE), segment.expected.volume_ml(result))
        if _count(group.children()) > 1:
            raise refusal(Rule.FIGURE, f"{kind}: segment {number} has further numbers")


def _referenced_segment(kind: ObjectKind, group: Item, seg: Seg) -> int:
    wanted = (text_of(seg.dataset, "SOPClassUID"), seg.sop_instance_uid)
    items = group.find("IMAGE", expected.REFERENCED_SEGMENT)
    references = items[0].dataset.get("ReferencedSOPSequence") if len(items) == 1 else None
    if not references or len(references) != 1:
        raise refusal(Rule.SEGMENT_REFERENCE, f"{kind}: a group refers to no segment")
    reference = references[0]
    named = (text_of(reference, "ReferencedSOPClassUID"), text_of(reference, "ReferencedSOPInstanceUID"))
    number = reference.get("ReferencedSegmentNumber")
    if named != wanted or not isinstance(number, int):
        raise refusal(Rule.SEGMENT_REFERENCE, f"{kind}: a group names another segmentation or no segment number")
    return number


def _check_laterality(kind: ObjectKind, group: Item, segment: SegSegment) -> None:
    sites = group.find("CODE", expected.FINDING_SITE)
    sides = [code_of(item.dataset, "ConceptCodeSequence") for site in sites for item in _laterality(site)]
    wanted = [] if segment.expected.laterality is None else [segment.expected.laterality]
    if len(sites) != 1 or sides != wanted:
        raise refusal(Rule.SEGMENT_CODES, f"{kind}: segment {segment.number} is said to be at another side")


def _laterality(site: Item) -> list[Item]:
    return site.find("CODE", expected.LATERALITY)


def _check_study_group(kind: ObjectKind, group: Item, result: AnalysisResult) -> None:
    withheld = _withheld_tasks(kind, result)
    known = {figure.concept for figure in FIGURES}
    if any(item.value_type == "NUM" and item.concept not in known for item in group.children()):
        raise refusal(Rule.FIGURE, f"{kind} holds a number that no record explains")
    for figure in FIGURES:
        if figure.task not in withheld:
            _check_number(kind, group, (figure.concept, figure.unit), figure.value(result))
    if "severity" not in withheld:
        stated = [code_of(item.dataset, "ConceptCodeSequence") for item in group.find("CODE", expected.SEVERITY)]
        category = result.severity_category
        wanted = [] if category is None else [expected.SEVERITY_CATEGORIES[category]]
        if stated != wanted:
            raise refusal(Rule.FIGURE, f"{kind}: the severity category is not that of the record")


def _check_number(kind: ObjectKind, group: Item, what: tuple[Coded, Coded], wanted: float | None) -> None:
    """Require one number of this concept and unit, equal to the record within the rounding that we write with."""
    concept, unit = what
    name = concept[0]
    items = group.find("NUM", concept)
    if len(items) != (wanted is not None):
        raise refusal(Rule.FIGURE, f"{kind}: figure {name} is there {len(items)} times")
    if wanted is None:
        return
    values = items[0].dataset.get("MeasuredValueSequence") or []
    if len(values) != 1:
        raise refusal(Rule.FIGURE, f"{kind}: figure {name} has {len(values)} values")
    if code_of(values[0], "MeasurementUnitsCodeSequence") != unit:
        raise refusal(Rule.UNIT, f"{kind}: figure {name} is not in {unit[0]}")
    stated = [float(values[0].NumericValue), float(values[0].get("FloatingPointValue", values[0].NumericValue))]
    if any(not abs(value - wanted) <= expected.FIGURE_TOLERANCE for value in stated):
        raise refusal(Rule.FIGURE, f"{kind}: figure {name} is {stated[0]}, the record says {wanted:.4f}")
