"""Whether an object belongs to the patient, the study and the frame of reference of the originals.

Comes from each final data set and the originals; ends in silence or a refusal that names attributes, never values.
"""

import re
from collections.abc import Iterator, Mapping

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import VR

from covnode.interlock.expected import SOP_CLASSES
from covnode.interlock.originals import PATIENT, STUDY, Originals, text_of
from covnode.interlock.refusals import Rule, refusal
from covnode.records.result import DEMONSTRATION, AnalysisResult, ObjectKind

# PS3.5 section 9.1: components without leading zeros, at most 64 characters.
_UID = re.compile(r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_VR_WITHOUT_UID = frozenset(VR) - {VR.UI, VR.SQ, VR.UN}


def check_identity(kind: ObjectKind, dataset: Dataset, originals: Originals, result: AnalysisResult) -> None:
    """Check what an object says about itself and whose it is.

    Raises
    ------
    DeliveryRefused
        ``sop_class``, ``uid``, ``patient``, ``study``, ``frame_of_reference``, ``identity_removed`` or
        ``demonstration_phrase``.
    """
    stated = (text_of(dataset, "SOPClassUID"), text_of(dataset, "Modality"))
    if stated != SOP_CLASSES[kind]:
        raise refusal(Rule.SOP_CLASS, f"{kind} has another SOP class or modality")
    for rule, keywords in ((Rule.PATIENT, PATIENT), (Rule.STUDY, STUDY)):
        differing = [keyword for keyword in keywords if text_of(dataset, keyword) != originals.values[keyword]]
        if differing:
            raise refusal(rule, f"{kind} differs from the originals in {', '.join(differing)}")
    if text_of(dataset, "PatientIdentityRemoved") == "YES" != originals.values["PatientIdentityRemoved"]:
        raise refusal(Rule.IDENTITY_REMOVED, f"{kind} says that the patient's identity was removed")
    check_frame_of_reference(kind, text_of(dataset, "FrameOfReferenceUID"), originals)
    _check_uids(kind, dataset, originals)
    if result.demonstration and DEMONSTRATION not in text_of(dataset, "SeriesDescription"):
        raise refusal(Rule.DEMONSTRATION_PHRASE, f"{kind} does not say in its description that it is a demonstration")


def check_frame_of_reference(kind: ObjectKind, uid: str, originals: Originals) -> None:
    """Compare a frame of reference, where both the object and the originals name one."""
    wanted = originals.values["FrameOfReferenceUID"]
    if (kind is ObjectKind.SEG and not uid) or (uid and wanted and uid != wanted):
        raise refusal(Rule.FRAME_OF_REFERENCE, f"{kind} has another frame of reference than the originals")


def check_distinct(datasets: Mapping[ObjectKind, Dataset], originals: Originals) -> None:
    """Each object must be a new instance in a new series of its own.

    Raises
    ------
    DeliveryRefused
        ``uid``.
    """
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        uids = [text_of(dataset, keyword) for dataset in datasets.values()]
        if len(set(uids)) != len(uids) or originals.uids.intersection(uids):
            raise refusal(Rule.UID, f"{keyword} of an object is in use already")


def _check_uids(kind: ObjectKind, dataset: Dataset, originals: Originals) -> None:
    """Every UID must be well formed, except those of the originals, which are repeated as they are."""
    meta = dataset.file_meta
    if (text_of(meta, "MediaStorageSOPClassUID"), text_of(meta, "MediaStorageSOPInstanceUID")) != (
        text_of(dataset, "SOPClassUID"),
        text_of(dataset, "SOPInstanceUID"),
    ):
        raise refusal(Rule.UID, f"{kind}: file meta information and data set name different instances")
    known = originals.uids
    for element in _uid_elements(dataset):
        values = element.value if element.VM > 1 else [element.value] * element.VM
        if any(str(uid) not in known and not _UID.fullmatch(str(uid)) for uid in values):
            raise refusal(Rule.UID, f"{kind} holds a malformed UID in {element.keyword}")


def _uid_elements(dataset: Dataset) -> Iterator[DataElement]:
    """Find the elements of VR UI at any depth; elements of another VR are not even decoded."""
    for tag in dataset.keys():  # noqa: SIM118 (a Dataset iterates over its decoded elements)
        if dataset.get_item(tag).VR not in _VR_WITHOUT_UID:
            element = dataset[tag]
            if element.VR == "UI":
                yield element
            for item in element.value or () if element.VR == "SQ" else ():
                yield from _uid_elements(item)
