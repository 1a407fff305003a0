"""Storage commitment: what the node commits to is what lies on its disk, and the report arrives whatever happens."""

import os
import signal
import threading
import time

import pytest
from commitment_scu import CommitmentScu
from front_door import FrontDoor, push
from processes import wait_until
from pydicom import dcmread
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from covnode.cli.local_node import NODE_AE, free_port, run_covnode
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def phantom_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "ct"
    write_phantom(make_phantom(PhantomPreset.COVID_SEVERE, slices=12, seed=3, size=64), folder)
    return sorted(folder.glob("*.dcm"))


@pytest.fixture
def series(phantom_files, tmp_path):
    """A series of twelve instances that no other test has."""
    folder = tmp_path / "series"
    folder.mkdir()
    study, series = generate_uid(), generate_uid()
    for path in phantom_files:
        ds = dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study, series, generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / path.name)
    return folder


@pytest.fixture
def instances(series):
    """(SOP class, SOP instance) of each."""
    headers = [dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"]) for path in sorted(series.glob("*.dcm"))]
    return [(str(header.SOPClassUID), str(header.SOPInstanceUID)) for header in headers]


def started_door(root, **peers):
    """Return a running node that only receives, with peers of these ports."""
    node = FrontDoor(root)
    node.init()
    for ae_title, port in peers.items():
        run_covnode("peer", "add", ae_title, f"{ae_title}@127.0.0.1:{port}", "--home", str(node.root))
    node.configure(commitment__retry_s=1, deliver__timeout_s=10)
    node.start()
    return node


@pytest.fixture(scope="module")
def scu_port():
    return free_port()


@pytest.fixture(scope="module")
def node(tmp_path_factory, scu_port):
    """A node that knows SCU as a peer, and no other."""
    node = started_door(tmp_path_factory.mktemp("node") / "home", SCU=scu_port)
    yield node
    node.stop()


@pytest.fixture
def scu():
    """A peer of the node that does not listen yet."""
    user = CommitmentScu("SCU")
    yield user
    user.stop()


@pytest.fixture
def stranger():
    """An AE that is no peer of the node: it can get the report on its own association alone."""
    return CommitmentScu("STRANGER")


def open_requests(node):
    return list(node.home.commitments.iterdir())


def as_pairs(items):
    return sorted((item["SOPClassUID"], item["SOPInstanceUID"]) for item in items)


def committed_in_orthanc(orthanc, body):
    """Ask by Orthanc, and return its account of the report."""
    asked = orthanc.send(f"modalities/{NODE_AE}/storage-commitment", body)
    wait_until(lambda: orthanc.get(f"storage-commitment/{asked['ID']}")["Status"] != "Pending", 60)
    return orthanc.get(f"storage-commitment/{asked['ID']}")


@pytest.fixture
def node_of_orthanc(orthanc, tmp_path):
    node = started_door(tmp_path / "home", ORTHANC=orthanc.dicom_port)
    yield node
    node.stop()


@pytest.mark.slow
def test_orthanc_hears_exactly_what_is_here_and_what_is_not(orthanc, node_of_orthanc, series):
    node = node_of_orthanc
    orthanc.knows(NODE_AE, node.port)
    orthanc.hold(series)
    ids = orthanc.get("instances")
    # Ten of the twelve come to the node, pushed by Orthanc itself.
    sent = sorted(ids)[:10]
    orthanc.send(f"modalities/{NODE_AE}/store", {"Resources": sent, "Synchronous": True})
    uids = {name: orthanc.get(f"instances/{name}")["MainDicomTags"]["SOPInstanceUID"] for name in ids}
    here = sorted((str(CTImageStorage), uids[name]) for name in sent)
    absent = sorted((str(CTImageStorage), uids[name]) for name in ids if name not in sent)

    report = committed_in_orthanc(orthanc, {"Resources": sent})
    assert (report["Status"], report["RemoteAET"]) == ("Success", NODE_AE)
    assert (as_pairs(report["Success"]), report["Failures"]) == (here, [])

    report = committed_in_orthanc(orthanc, {"DicomInstances": [*map(list, here), *map(list, absent)]})
    assert report["Status"] == "Failure"
    assert as_pairs(report["Success"]) == here
    assert as_pairs(report["Failures"]) == absent
    assert {item["FailureReason"] for item in report["Failures"]} == {0x0112}
    wait_until(lambda: not open_requests(node), 20)
    assert not any(uid in node.log.read_text() for uid in uids.values())


def test_a_commitment_asked_for_right_behind_the_last_success_is_whole(node, stranger, series, instances):
    files = sorted(series.glob("*.dcm"))
    with stranger.association(node.port) as association:
        assert {association.send_c_store(path).Status for path in files} == {0x0000}
        assert stranger.ask(association, "1.2.1", instances) == 0x0000
        assert stranger.report("1.2.1") == ("same", 1, instances, [])
    wait_until(lambda: not open_requests(node), 20)


def test_a_class_that_is_not_the_instances_own_is_a_conflict(node, scu, scu_port, series, instances):
    scu.listen(scu_port)
    push(node.port, sorted(series.glob("*.dcm")), calling="SCANNER")
    first, wrong = instances[0], (str(MRImageStorage), instances[1][1])
    absent = (str(CTImageStorage), generate_uid())
    with scu.association(node.port) as association:
        assert scu.ask(association, "1.2.2", [first, wrong, absent]) == 0x0000
    assert scu.report("1.2.2") == ("new", 2, [first], [(*wrong, 0x0119), (*absent, 0x0112)])


def test_what_left_the_disk_is_not_committed_to(node, stranger, series, instances):
    push(node.port, sorted(series.glob("*.dcm")))
    uids = {str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID): path for path in node.spooled()}
    lost = instances[5]
    uids[lost[1]].unlink()
    with stranger.association(node.port) as association:
        assert stranger.ask(association, "1.2.3", instances) == 0x0000
        way, event_type, stored, failed = stranger.report("1.2.3")
    assert (way, event_type, failed) == ("same", 2, [(*lost, 0x0112)])
    assert stored == [pair for pair in instances if pair != lost]


def test_requests_that_follow_each_other_on_one_association_all_get_their_report(node, stranger, series, instances):
    push(node.port, sorted(series.glob("*.dcm")))
    names = [f"1.2.4.{number}" for number in range(1, 41)]
    with stranger.association(node.port) as association:
        assert {stranger.ask(association, name, instances) for name in names} == {0x0000}
        for name in names:
            assert stranger.report(name) == ("same", 1, instances, [])


def test_a_peer_that_answers_no_report_and_releases_has_not_broken_off(node, stranger, series, instances):
    asked = threading.Event()
    ended = len(node.events("association_ended"))
    with stranger.association(node.port) as association:
        association.send_c_store(min(series.glob("*.dcm")))
        assert stranger.ask(association, "1.2.9", instances) == 0x0000
        association._serve_request = lambda _message, _context_id: asked.set()
        assert asked.wait(30)
        began_s = time.monotonic()
    wait_until(lambda: len(node.events("association_ended")) > ended, 20)
    assert time.monotonic() - began_s < 5
    assert node.events("association_ended")[-1]["how"] == "released"
    for path in open_requests(node):
        path.unlink()


def test_another_action_is_refused_and_the_association_lives_on(node, stranger, instances):
    with stranger.association(node.port) as association:
        assert stranger.ask(association, "1.2.5", instances, action_type=2) == 0x0123
        assert stranger.ask(association, "", instances) == 0x0115
        assert stranger.ask(association, "1.2.6", instances) == 0x0000
        assert stranger.report("1.2.6") == ("same", 2, [], [(*pair, 0x0112) for pair in instances])


def test_a_peer_that_was_away_gets_the_report_when_it_is_back(node, scu, scu_port, series, instances):
    push(node.port, sorted(series.glob("*.dcm")))
    before = len(node.events("commitment_report_postponed"))
    with scu.association(node.port) as association:
        assert scu.ask(association, "1.2.7", instances) == 0x0000
    wait_until(lambda: len(node.events("commitment_report_postponed")) > before, 30)
    assert open_requests(node)
    scu.listen(scu_port)
    assert scu.report("1.2.7") == ("new", 1, instances, [])
    wait_until(lambda: not open_requests(node), 20)


@pytest.mark.slow
def test_a_request_that_was_answered_outlives_a_killed_receiver(node, scu, scu_port, series, instances):
    with scu.association(node.port) as association:
        assert {association.send_c_store(path).Status for path in sorted(series.glob("*.dcm"))} == {0x0000}
        assert scu.ask(association, "1.2.8", instances) == 0x0000
        os.kill(node.process.pid, signal.SIGKILL)
    node.process.wait()
    assert open_requests(node)
    scu.listen(scu_port)
    node.start()
    assert scu.report("1.2.8") == ("new", 1, instances, [])
    wait_until(lambda: not open_requests(node), 20)
