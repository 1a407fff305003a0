"""Gives a result the identity of its source back.

Comes from the delivery job (an object made on pseudonymous data, and the Identity from the vault); goes to the
interlock and then to the PACS. Changes identity only: pixels, codes, figures and the result's own UIDs stay. Never
writes an object that would refer to something the PACS does not have.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import STR_VR

from covnode.deliver.character_sets import declare_character_set
from covnode.deliver.dicom_json import element_from_json
from covnode.dicom.dimse import CT_SOP_CLASSES
from covnode.dicom.identity_attributes import IDENTITY_KEYWORDS, REQUIRED_KEYWORDS
from covnode.dicom.reading import MALFORMED, quietly
from covnode.disk import sync_folder
from covnode.errors import DeliveryRefused
from covnode.records.identity import Identity

_FRAMES_OF_REFERENCE = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID")
_SPECIFIC_CHARACTER_SET = "00080005"


def restore_identity(source: Path, target: Path, identity: Identity) -> None:
    """Write the final bytes of a result: it belongs to the original's patient and study and refers to its images.

    At every depth, each pseudonymous UID becomes the original one; Patient, General Study and Patient Study
    attributes are exactly the original's (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), and so is what says whether the study is
    de-identified. All texts are in the original's character set where it can write them, else in UTF-8. The same
    input gives the same bytes; the file appears synced, or not at all.

    Parameters
    ----------
    source
        A SEG or SR of the worker.
    target
        Replaced if it exists.

    Raises
    ------
    DeliveryRefused
        ``ambiguous_references`` when several images share one SOP Instance UID; ``unmapped_reference`` when a
        reference to the study, the frame of reference or a CT image is none that the identity knows;
        ``pseudonym_left`` when a pseudonymous Patient ID or UID still stands in any text;
        ``unreadable_result`` when the source is malformed.
    OSError
        When a file cannot be read or written.
    """
    if identity.ambiguous_references:
        raise DeliveryRefused(
            "several images of the series share one SOP Instance UID, so that a result could not say which image it "
            "refers to",
            "ambiguous_references",
        )
    with quietly():
        try:
            result = dcmread(source)
            result.decode()
            _refuse_unmapped(result, identity)
            pseudonyms = _pseudonyms(result, identity)
            _restore_uids(result, identity.uid_map)
            _restore_attributes(result, identity)
            _refuse_left(result, pseudonyms)
            declare_character_set(result, _original_character_set(identity))
        except MALFORMED as error:
            raise DeliveryRefused("the result cannot be read or rewritten", "unreadable_result") from error
        _write(result, target)


def _data_sets(dataset: Dataset) -> Iterator[Dataset]:
    """Walk over a data set and the items of all its sequences."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _data_sets(item)


def _values(value: object) -> list[str]:
    return [str(v) for v in (value if isinstance(value, (MultiValue, list, tuple)) else [value]) if v]


def _refuse_unmapped(result: Dataset, identity: Identity) -> None:
    """Every UID that must name something of the original has an original one."""
    known = identity.uid_map
    for dataset in _data_sets(result):
        required = _values(dataset.get("StudyInstanceUID"))
        if dataset.get("ReferencedSOPClassUID") in CT_SOP_CLASSES:
            required += _values(dataset.get("ReferencedSOPInstanceUID"))
        if dataset is not result and _holds_ct(dataset):
            required += _values(dataset.get("SeriesInstanceUID"))
        if identity.frame_of_reference_uid is not None:
            required += [uid for keyword in _FRAMES_OF_REFERENCE for uid in _values(dataset.get(keyword))]
        if not known.keys() >= set(required):
            raise DeliveryRefused(
                "the result refers to a study, an image or a frame of reference that its source does not have",
                "unmapped_reference",
            )
    if result.get("StudyInstanceUID") is None:
        raise DeliveryRefused("the result names no study", "unmapped_reference")


def _holds_ct(item: Dataset) -> bool:
    """Whether an item that names a series refers to CT images in it."""
    if "SeriesInstanceUID" not in item:
        return False
    return any(dataset.get("ReferencedSOPClassUID") in CT_SOP_CLASSES for dataset in _data_sets(item))


def _restore_uids(result: Dataset, uid_map: dict[str, str]) -> None:
    for dataset in _data_sets(result):
        for element in dataset:
            if element.VR == "UI" and element.value:
                values = [uid_map.get(uid, uid) for uid in _values(element.value)]
                element.value = values if len(values) > 1 else values[0]


def _restore_attributes(result: Dataset, identity: Identity) -> None:
    for keyword in IDENTITY_KEYWORDS:
        if keyword in result:
            del result[Tag(keyword)]
    for tag, json in identity.attributes.items():
        if tag != _SPECIFIC_CHARACTER_SET:
            result.add(element_from_json(int(tag, 16), json))
    for keyword in REQUIRED_KEYWORDS:
        if keyword not in result:
            setattr(result, keyword, "")


def _pseudonyms(result: Dataset, identity: Identity) -> frozenset[str]:
    """Return what must not stand in the restored object: texts that name its patient or images by pseudonym."""
    replaced = {pseudonym for pseudonym, original in identity.uid_map.items() if pseudonym != original}
    return frozenset(replaced | set(_values(result.get("PatientID"))))


def _refuse_left(result: Dataset, pseudonyms: frozenset[str]) -> None:
    texts = (
        text
        for dataset in _data_sets(result)
        for element in dataset
        if element.VR in STR_VR
        for text in _values(element.value)
    )
    everything = "\n".join(texts)
    if any(pseudonym in everything for pseudonym in pseudonyms):
        raise DeliveryRefused("the restored result still names its patient or images by pseudonym", "pseudonym_left")


def _original_character_set(identity: Identity) -> list[str]:
    json = identity.attributes.get(_SPECIFIC_CHARACTER_SET)
    if json is None:
        return []
    value = element_from_json(int(_SPECIFIC_CHARACTER_SET, 16), json).value
    # An empty first value stands for the default repertoire, before the one that extends it (PS3.3 C.12.1.1.2).
    names = [str(name or "") for name in (value if isinstance(value, (MultiValue, list, tuple)) else [value])]
    return names if any(names) else []


def _write(result: FileDataset, target: Path) -> None:
    # Of its own: a sender that was frozen may wake and write while another, which took over, does.
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}.draft")
    try:
        with draft.open("wb") as file:
            dcmwrite(file, result, enforce_file_format=True)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(target.parent)
