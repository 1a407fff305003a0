"""Whether every reference of SEG and SR names an image of the received series, or the SEG that goes with it.

Comes from the SEG as read, the SR's data set and the originals; ends in silence or a refusal.
"""

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset

from covnode.interlock.geometry import Lattice
from covnode.interlock.originals import Originals, text_of
from covnode.interlock.refusals import Rule, refusal
from covnode.interlock.segmentation import Seg
from covnode.records.result import ObjectKind

Reference = tuple[str, str]


def check_segmentation_references(seg: Seg, originals: Originals) -> None:
    """Check the Referenced Series Sequence and the source image of each frame (PS3.3 C.12.1.1.2, C.7.6.16.2.6).

    Raises
    ------
    DeliveryRefused
        ``references``.
    """
    listed = _listed(ObjectKind.SEG, seg.dataset.get("ReferencedSeriesSequence") or [], originals)
    used = {(frame.source_sop_class_uid, frame.source[0]) for frame in seg.frames}
    sources = {_pair(item) for item in seg.dataset.get("SourceImageSequence") or []}
    if not used <= listed or (sources and sources != listed):
        raise refusal(Rule.REFERENCES, "the segmentation uses images that it does not list")
    if any(frame.source not in originals.planes for frame in seg.frames):
        raise refusal(Rule.REFERENCES, "a frame of the segmentation was derived from no original frame")
    _require_known(ObjectKind.SEG, listed | used, originals)


def check_report_references(
    kind: ObjectKind, dataset: Dataset, seg: Seg, originals: Originals, lattice: Lattice
) -> None:
    """Check the evidence of an SR and every image that its content names (PS3.3 C.17.2, C.18.4).

    Raises
    ------
    DeliveryRefused
        ``references`` or ``study``.
    """
    segmentation = (text_of(seg.dataset, "SOPClassUID"), seg.sop_instance_uid)
    evidence: set[Reference] = set()
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or []:
        if text_of(study, "StudyInstanceUID") != originals.values["StudyInstanceUID"]:
            raise refusal(Rule.STUDY, f"{kind} refers to another study")
        series = list(study.ReferencedSeriesSequence)
        own = [item for item in series if text_of(item, "SeriesInstanceUID") == seg.dataset.SeriesInstanceUID]
        if [_pair(item) for holder in own for item in holder.ReferencedSOPSequence] != [segmentation]:
            raise refusal(Rule.REFERENCES, f"{kind} does not list the segmentation that it goes with")
        evidence |= _listed(kind, [item for item in series if item not in own], originals) | {segmentation}
    if dataset.get("PertinentOtherEvidenceSequence"):
        raise refusal(Rule.REFERENCES, f"{kind} lists other evidence")
    named = {_pair(item) for item in _content_references(dataset)}
    if not evidence or named != evidence:
        raise refusal(Rule.REFERENCES, f"the images that {kind} names in its content and as evidence differ")
    images = evidence - {segmentation}
    _require_known(kind, images, originals)
    uids = {uid for _, uid in images}
    slices = {
        placing.k for key, plane in originals.planes.items() if key[0] in uids and (placing := lattice.placing(plane))
    }
    if len(slices) != lattice.shape[0]:
        raise refusal(Rule.REFERENCES, f"{kind} names images of {len(slices)} slices out of {lattice.shape[0]}")


def _listed(kind: ObjectKind, series: Iterable[Dataset], originals: Originals) -> set[Reference]:
    """Take the references of the one series that may be listed."""
    items = list(series)
    if [text_of(item, "SeriesInstanceUID") for item in items] != [originals.values["SeriesInstanceUID"]]:
        raise refusal(Rule.REFERENCES, f"{kind} does not refer to the received series alone")
    instances = items[0].get("ReferencedInstanceSequence") or items[0].get("ReferencedSOPSequence") or []
    return {_pair(item) for item in instances}


def _require_known(kind: ObjectKind, references: Iterable[Reference], originals: Originals) -> None:
    unknown = [uid for sop_class, uid in references if originals.sop_classes.get(uid) != sop_class]
    if unknown:
        raise refusal(Rule.REFERENCES, f"{kind} refers to {len(unknown)} images that were not received as such")


def _content_references(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or []:
        yield from child.get("ReferencedSOPSequence") or []
        yield from _content_references(child)


def _pair(item: Dataset) -> Reference:
    return (text_of(item, "ReferencedSOPClassUID"), text_of(item, "ReferencedSOPInstanceUID"))
