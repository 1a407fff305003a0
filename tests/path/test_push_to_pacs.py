"""A pushed series comes back to the PACS as SEG and SR, whatever happens on the way."""

import os
import signal

import numpy as np
import pytest
import sqlalchemy as sa
from processes import covnode, received, wait_until
from pydicom import dcmread

from covnode.deliver.scu import send
from covnode.dicom.association import Destination
from covnode.errors import TransientError
from covnode.records.job import AnalysisState, DeliveryState
from covnode.store.tables import DeliveredObjectRow

pytestmark = pytest.mark.slow

IDENTITY = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-0042",
    "PatientBirthDate": "19501231",
    "PatientSex": "F",
    "AccessionNumber": "ACC-77",
    "StudyID": "S-1",
}


def delivered(node):
    return node.jobs("delivery", DeliveryState.DELIVERED)


def test_seg_and_sr_come_back_under_the_patients_own_identity(node, pacs, write_series):
    folder = write_series(**IDENTITY)
    node.push(folder)
    objects = {ds.Modality: ds for ds in received(pacs, 2)}
    original = dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True)
    assert set(objects) == {"SEG", "SR"}
    for ds in objects.values():
        for keyword in ("StudyInstanceUID", *IDENTITY):
            assert str(ds[keyword].value) == str(original[keyword].value), keyword
        assert ds.SeriesInstanceUID != original.SeriesInstanceUID
        assert "not for clinical use" in ds.SeriesDescription
        assert "PatientIdentityRemoved" not in ds
    assert objects["SEG"].FrameOfReferenceUID == original.FrameOfReferenceUID
    sources = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in folder.glob("*.dcm")}
    referred = {
        str(item.ReferencedSOPInstanceUID)
        for item in objects["SEG"].ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred <= sources
    wait_until(lambda: delivered(node))


@pytest.mark.chaos
def test_a_killed_worker_takes_its_analysis_up_again_and_nothing_is_sent_twice(node, pacs, write_series):
    node.push(write_series())
    wait_until(lambda: node.jobs("analysis", AnalysisState.RUNNING))
    os.kill(node.pid_of("work"), signal.SIGKILL)
    modalities = sorted(ds.Modality for ds in received(pacs, 2))
    assert modalities == ["SEG", "SR"]
    wait_until(lambda: delivered(node))
    analysis = node.jobs("analysis")[0]
    assert (analysis["state"], analysis["attempts"]) == (AnalysisState.ANALYSED, 2)
    assert pacs.waiting == 0
    with node.transaction() as session:
        assert session.query(DeliveredObjectRow).count() == 2


@pytest.mark.chaos
def test_a_killed_receiver_loses_nothing_that_it_answered_for(idle_node, pacs, write_series):
    idle_node.init("--pacs", pacs.address)
    # The sender comes back before the broken-off series counts as complete.
    assert covnode("config", "set", "completeness.aborted_idle_s", "60", "--home", str(idle_node.root)).returncode == 0
    idle_node.start()
    folder = write_series()
    files = sorted(folder.glob("*.dcm"))
    receiver = idle_node.pid_of("receive")
    answered = []

    def kill_after_ten(path, _status):
        answered.append(path)
        if len(answered) == 10:
            os.kill(receiver, signal.SIGKILL)

    where = Destination("node", "COVNODE", "127.0.0.1", idle_node.port, 10.0)
    with pytest.raises(TransientError):
        send("SCANNER", where, files, kill_after_ten)
    assert len(list(idle_node.home.spool.glob("*/*.dcm"))) >= len(answered) >= 10
    wait_until(lambda: idle_node.pid_of("receive") != receiver)
    wait_until(idle_node.listens)
    idle_node.push(folder)
    assert sorted(ds.Modality for ds in received(pacs, 2)) == ["SEG", "SR"]
    (series,) = idle_node.series()
    assert (series["instances"], series["revision"]) == (len(files), 1)


@pytest.mark.chaos
def test_an_inference_child_that_died_while_idle_costs_one_attempt(node, pacs, write_series):
    node.push(write_series("first"))
    received(pacs, 2)
    for child in node.inference_children():
        os.kill(child, signal.SIGKILL)
    node.push(write_series("second", SeriesInstanceUID="2.25.77", StudyInstanceUID="2.25.78"))
    assert sorted(ds.Modality for ds in received(pacs, 2)) == ["SEG", "SR"]


@pytest.mark.chaos
def test_a_stop_in_the_middle_of_an_analysis_counts_no_attempt(node, pacs, write_series):
    node.push(write_series())
    wait_until(lambda: node.jobs("analysis", AnalysisState.RUNNING))
    node.stop()
    assert node.jobs("analysis")[0]["attempts"] == 0
    node.start()
    assert sorted(ds.Modality for ds in received(pacs, 2)) == ["SEG", "SR"]
    wait_until(lambda: delivered(node))
    assert node.jobs("analysis")[0]["attempts"] == 1
    assert pacs.waiting == 0


@pytest.mark.chaos
def test_a_job_that_the_engine_lost_is_queued_again(idle_node, pacs, write_series):
    idle_node.init("--pacs", pacs.address)
    idle_node.start()
    os.kill(idle_node.pid_of("work"), signal.SIGSTOP)
    idle_node.push(write_series())
    wait_until(lambda: idle_node.jobs("analysis", AnalysisState.QUEUED))
    with idle_node.transaction() as session:
        session.execute(sa.text("DELETE FROM workflow_status"))
    os.kill(idle_node.pid_of("work"), signal.SIGCONT)
    assert sorted(ds.Modality for ds in received(pacs, 2)) == ["SEG", "SR"]
    assert any(line["event"] == "job_requeued" for line in idle_node.log_lines)


@pytest.mark.chaos
def test_a_pacs_that_is_away_gets_the_result_when_it_is_back(idle_node, pacs, write_series):
    pacs.stop()
    idle_node.init("--pacs", pacs.address)
    idle_node.start()
    idle_node.push(write_series())
    wait_until(lambda: any(job["attempts"] >= 2 for job in idle_node.jobs("delivery")))
    pacs.start()
    objects = received(pacs, 2)
    assert sorted(ds.Modality for ds in objects) == ["SEG", "SR"]
    analysis = idle_node.jobs("analysis")[0]
    assert analysis["attempts"] == 1
    report = next(ds for ds in objects if ds.Modality == "SR")
    text = str(report)
    assert "not for clinical use" in text
    assert "severity score" not in text.lower()
    assert "probability of covid" not in text.lower()


def test_a_repeated_push_changes_nothing_and_a_late_slice_makes_the_next_revision(node, pacs, write_series):
    folder = write_series()
    files = sorted(folder.glob("*.dcm"))
    late = folder.parent / "late"
    late.mkdir()
    files[-1].rename(late / files[-1].name)
    node.push(folder)
    first = {ds.Modality: ds.SOPInstanceUID for ds in received(pacs, 2)}
    node.push(folder)
    wait_until(lambda: delivered(node))
    assert [row["revision"] for row in node.series()] == [1]
    node.push(late)
    second = {ds.Modality: ds for ds in received(pacs, 2)}
    assert [row["revision"] for row in node.series()] == [2]
    assert all(second[modality].SOPInstanceUID != first[modality] for modality in first)
    assert pacs.waiting == 0


def test_one_sop_instance_uid_on_every_slice_is_kept_analysed_and_not_delivered(node, pacs, write_series):
    folder = write_series(SOPInstanceUID="1.2.826.0.1.3680043.8.498.1")
    node.push(folder)
    wait_until(lambda: node.jobs("delivery", DeliveryState.BLOCKED))
    (series,) = node.series()
    assert series["instances"] == 40
    assert series["state"] == AnalysisState.ANALYSED
    blocked = node.jobs("delivery", DeliveryState.BLOCKED)[0]
    assert "share one SOP Instance UID" in blocked["reason"]
    assert pacs.waiting == 0


def test_a_series_that_cannot_be_analysed_says_why_and_the_next_one_goes_through(node, pacs, write_series):
    bad = write_series("gap", SeriesInstanceUID="2.25.1001")
    sorted(bad.glob("*.dcm"))[20].unlink()
    node.push(bad)
    node.push(write_series("good"))
    assert sorted(ds.Modality for ds in received(pacs, 2)) == ["SEG", "SR"]
    refused = next(row for row in node.series() if row["state"] == AnalysisState.NOT_ANALYSED)
    assert "mm" in refused["reason"]
    assert "2.25.1001" not in str(refused)


def test_the_figures_of_the_result_are_those_of_the_phantom(node, pacs, write_series, small_phantom):
    node.push(write_series())
    seg = next(ds for ds in received(pacs, 2) if ds.Modality == "SEG")
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    numbers = [
        int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for item in seg.PerFrameFunctionalGroupsSequence
    ]
    labels = {int(item.SegmentNumber): item.SegmentLabel.lower() for item in seg.SegmentSequence}
    lungs = sum(int(frame.sum()) for frame, number in zip(frames, numbers, strict=True) if "lung" in labels[number])
    truth = int(np.count_nonzero(small_phantom.lung_labels))
    assert lungs == pytest.approx(truth, rel=0.05)
