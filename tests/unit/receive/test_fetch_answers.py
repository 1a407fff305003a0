"""What a peer says of a study and of a retrieval, read as far as it goes."""

import pytest
from pydicom import Dataset

from covnode.dicom.association import Destination
from covnode.errors import ConfigurationError
from covnode.receive import query
from covnode.receive.query import FoundSeries, count_instances, ct_studies_of_patient, series_of_study
from covnode.receive.retrieve import SubOperations

PACS = Destination("pacs", "PACS", "192.0.2.1", 104, 5.0)


def answer(**values):
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.fixture
def archive(monkeypatch):
    """Return a list of answers that the peer gives to whatever is asked, and what was asked."""
    answers = []
    asked = []

    def find(_calling, _destination, keys):
        asked.append(keys)
        return iter(answers)

    monkeypatch.setattr(query, "_find", find)
    return answers, asked


def test_an_answer_of_another_series_or_study_is_left_out(archive):
    answers, asked = archive
    answers += [
        answer(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", Modality="CT", NumberOfSeriesRelatedInstances="64"),
        answer(SeriesInstanceUID="1.2.2", Modality="SR"),
        answer(StudyInstanceUID="1.3", SeriesInstanceUID="1.3.1", Modality="CT"),
        answer(StudyInstanceUID="1.2", SeriesInstanceUID=""),
    ]
    first = FoundSeries("1.2", "1.2.1", "CT", 64)
    assert series_of_study("COVNODE", PACS, "1.2") == [first, FoundSeries("1.2", "1.2.2", "SR", None)]
    assert series_of_study("COVNODE", PACS, "1.2", "1.2.1") == [first]
    assert (asked[1].QueryRetrieveLevel, asked[1].SeriesInstanceUID) == ("SERIES", "1.2.1")


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ([], None),
        ([{"NumberOfSeriesRelatedInstances": "64"}], 64),
        ([{"NumberOfSeriesRelatedInstances": ""}], None),
        ([{"NumberOfSeriesRelatedInstances": "0"}], None),
        ([{}], None),
        ([{"NumberOfSeriesRelatedInstances": "64"}, {"NumberOfSeriesRelatedInstances": "1"}], None),
    ],
)
def test_the_count_is_what_the_peer_says_or_nothing(said, count, archive):
    archive[0].extend(answer(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", **values) for values in said)
    assert count_instances("COVNODE", PACS, "1.2", "1.2.1") == count


def test_studies_of_other_patients_and_without_ct_are_no_priors(archive):
    archive[0].extend(
        [
            answer(PatientID="P1", StudyInstanceUID="1.1", StudyDate="20240101", ModalitiesInStudy="CT"),
            answer(PatientID="P1 ", StudyInstanceUID="1.2", StudyDate="20250101", ModalitiesInStudy=["SR", "CT"]),
            answer(PatientID="P1", StudyInstanceUID="1.3", StudyDate="", ModalitiesInStudy=""),
            answer(PatientID="P1", StudyInstanceUID="1.4", StudyDate="20250101", ModalitiesInStudy=["SR", "MR"]),
            answer(PatientID="P10", StudyInstanceUID="1.5", StudyDate="20250101", ModalitiesInStudy="CT"),
            answer(StudyInstanceUID="1.6", StudyDate="20250101", ModalitiesInStudy="CT"),
        ]
    )
    found = ct_studies_of_patient("COVNODE", PACS, " P1")
    assert [study.study_instance_uid for study in found] == ["1.2", "1.1", "1.3"]


@pytest.mark.parametrize("patient_id", ["", " ", "*", "P?", "P1\\P2"])
def test_a_patient_id_that_matches_several_is_not_asked_for(patient_id, archive):
    with pytest.raises(ConfigurationError, match="more than one patient"):
        ct_studies_of_patient("COVNODE", PACS, patient_id)
    assert archive[1] == []


@pytest.mark.parametrize("uids", [("",), ("*",), ("1.2\\1.3",), ("1" * 65,), ("1.2", "1.?")])
def test_what_is_no_uid_is_not_asked_for(uids, archive):
    with pytest.raises(ConfigurationError, match="no UID"):
        series_of_study("COVNODE", PACS, *uids)
    assert archive[1] == []


def test_figures_of_a_retrieval_stand_until_newer_ones_come():
    first = SubOperations.of(
        answer(
            NumberOfRemainingSuboperations=3,
            NumberOfCompletedSuboperations=2,
            NumberOfFailedSuboperations=1,
            NumberOfWarningSuboperations=1,
        )
    )
    assert first == SubOperations(3, 3, 1)
    assert SubOperations.of(answer(Status=0), first) == first
    last = SubOperations.of(answer(NumberOfCompletedSuboperations=6, NumberOfFailedSuboperations=1), first)
    assert last == SubOperations(0, 6, 1)
