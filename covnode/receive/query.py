"""C-FIND in the Study Root: which series a study has, which earlier CT studies a patient has, how many instances.

Called to fetch what lies in an archive, and by the assembly of series as evidence of completeness. Its answers hold
original UIDs, which go to the retrieval and nowhere else. It moves no object.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.multival import MultiValue

from covnode.dicom.association import Destination, associate
from covnode.dicom.dimse import SUCCESS
from covnode.errors import ConfigurationError, DeliveryRefused, TransientError
from covnode.receive.instance_facts import is_uid

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING = frozenset({0xFF00, 0xFF01})
_CT = "CT"


@dataclass(frozen=True)
class FoundSeries:
    """A series of a study at a peer; ``instances`` is None where the peer does not say."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    instances: int | None


@dataclass(frozen=True)
class FoundStudy:
    """A study at a peer; ``date`` sorts studies and is shown to nobody."""

    study_instance_uid: str
    date: str


def series_of_study(
    calling_ae_title: str, destination: Destination, study_uid: str, series_uid: str = ""
) -> list[FoundSeries]:
    """Ask which series a study has, or for the one that is named.

    Raises
    ------
    ConfigurationError
        What is asked for is no UID.
    TransientError, DeliveryRefused
        The peer is away, or does not answer such a question.
    """
    keys = _identifier("SERIES", StudyInstanceUID=_uid(study_uid), SeriesInstanceUID=series_uid and _uid(series_uid))
    keys.Modality = ""
    keys.NumberOfSeriesRelatedInstances = None
    found = [
        FoundSeries(
            study_uid, _text(answer, "SeriesInstanceUID"), _text(answer, "Modality").upper(), _instances_of(answer)
        )
        for answer in _find(calling_ae_title, destination, keys)
        # Some archives answer more than they were asked.
        if _text(answer, "StudyInstanceUID") in {"", study_uid}
    ]
    return [item for item in found if item.series_instance_uid and series_uid in {"", item.series_instance_uid}]


def ct_studies_of_patient(calling_ae_title: str, destination: Destination, patient_id: str) -> list[FoundStudy]:
    """Ask which CT studies the patient has, the newest first.

    Raises
    ------
    ConfigurationError
        The Patient ID holds a wildcard: the answer would mix patients.
    TransientError, DeliveryRefused
        The peer is away, or does not answer such a question.
    """
    patient_id = patient_id.strip()
    if not patient_id or set(patient_id) & set("*?\\"):
        raise ConfigurationError("a Patient ID holds no * ? or \\, which would match more than one patient.")
    keys = _identifier("STUDY", PatientID=patient_id, StudyInstanceUID="", StudyDate="", ModalitiesInStudy="")
    found = [
        FoundStudy(_text(answer, "StudyInstanceUID"), _text(answer, "StudyDate"))
        for answer in _find(calling_ae_title, destination, keys)
        # A study of another patient is worse than a missing one, so whatever the peer takes for a match is looked at.
        if _text(answer, "PatientID") == patient_id and _may_hold_ct(answer) and _text(answer, "StudyInstanceUID")
    ]
    return sorted(found, key=lambda study: study.date, reverse=True)


def count_instances(calling_ae_title: str, destination: Destination, study_uid: str, series_uid: str) -> int | None:
    """Ask how many instances a series has; None where the peer does not have it or does not say.

    Raises
    ------
    TransientError, DeliveryRefused
        The peer is away, or does not answer such a question.
    """
    found = series_of_study(calling_ae_title, destination, study_uid, series_uid)
    return found[0].instances if len(found) == 1 else None


def _identifier(level: str, **values: str) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(keys, keyword, value)
    return keys


def _uid(text: str) -> str:
    if not is_uid(text):
        raise ConfigurationError("what is asked for is no UID: figures and dots only, without wildcards.")
    return text


def _find(calling_ae_title: str, destination: Destination, keys: Dataset) -> Iterator[Dataset]:
    association = associate(calling_ae_title, destination, [(STUDY_ROOT_FIND, None)])
    try:
        for status, answer in association.send_c_find(keys, STUDY_ROOT_FIND):
            code = status.get("Status")
            if code is None:
                raise TransientError(f"{destination.name} did not answer the C-FIND")
            if code in _PENDING:
                if answer is not None:
                    yield answer
            elif code != SUCCESS:
                raise DeliveryRefused(f"{destination.name} refuses the C-FIND ({code:04X})", code=f"{code:04X}")
    except RuntimeError:
        raise TransientError(f"{destination.name} ended the association") from None
    finally:
        if association.is_established:
            association.release()


def _text(answer: Dataset, keyword: str) -> str:
    value = answer.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def _instances_of(answer: Dataset) -> int | None:
    try:
        count = int(_text(answer, "NumberOfSeriesRelatedInstances"))
    except ValueError:
        return None
    return count if count > 0 else None


def _may_hold_ct(answer: Dataset) -> bool:
    """Whether the study has CT; a peer that does not know the optional key leaves that to the series."""
    modalities = answer.get("ModalitiesInStudy")
    if not modalities:
        return True
    return _CT in (modalities if isinstance(modalities, MultiValue) else [str(modalities)])
