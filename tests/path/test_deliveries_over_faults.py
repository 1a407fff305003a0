"""The way back over faults of PACS and sender: everything arrives, once, in order, and nothing is inferred anew."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict

import pytest
import sqlalchemy as sa
from processes import covnode, received, wait_until
from scripted_pacs import ScriptedPacs

from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.job import AnalysisState, DeliveryState
from covnode.store.tables import AnalysisRow, DeliveredObjectRow, DeliveryRow

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(600)]

STUDIES = ("2.25.501", "2.25.502")
SERIES_A_STUDY = 5


@pytest.fixture(scope="session")
def tiny_phantom():
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=30, seed=3, size=128)


@pytest.fixture
def scripted_pacs():
    scripted = ScriptedPacs()
    scripted.start()
    yield scripted
    scripted.stop()


def serve(node, address, **settings):
    node.init("--pacs", address)
    node.configure(**{"deliver__longest_probe_s": 5, **settings})
    node.start()


def delivered(node):
    return node.jobs("delivery", DeliveryState.DELIVERED)


def objects_sent(node):
    """Return (delivery, kind, SOP Instance UID, status) of each object that a destination holds, as we note it."""
    row = DeliveredObjectRow
    with node.transaction() as session:
        return session.execute(sa.select(row.delivery_id, row.kind, row.sop_instance_uid, row.status)).all()


def logged(node, event):
    return [line for line in node.log_lines if line.get("event") == event]


def test_a_pacs_that_was_away_gets_everything_once_and_in_order_and_nothing_is_inferred_again(
    idle_node, pacs, write_series, tiny_phantom
):
    node = idle_node
    pacs.stop()
    serve(node, pacs.address)
    for number in range(SERIES_A_STUDY):
        for study in STUDIES:
            uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.{number + 1}"}
            node.push(write_series(f"{study}-{number}", phantom=tiny_phantom, **uids))
    count = len(STUDIES) * SERIES_A_STUDY
    wait_until(lambda: len(node.jobs("analysis", AnalysisState.ANALYSED)) == count)
    wait_until(lambda: len([job for job in node.jobs("delivery") if job["reason"]]) == count)
    (peer,) = json.loads(covnode("peer", "list", "--json", "--home", str(node.root)).stdout)
    assert peer["away_since"]
    assert peer["next_probe_at"]
    assert "does not answer" in peer["last_error"]
    assert peer["waiting"] == count
    tried = sum(job["attempts"] for job in node.jobs("delivery"))
    assert tried <= 3 + 3  # those that made it away, and what was on its way then
    pacs.start()
    arrived = [(str(ds.SOPInstanceUID), str(ds.StudyInstanceUID), ds.Modality) for ds in received(pacs, 2 * count)]
    wait_until(lambda: len(delivered(node)) == count)
    assert pacs.waiting == 0
    assert len({uid for uid, _study, _modality in arrived}) == 2 * count
    assert {job["attempts"] for job in node.jobs("analysis")} == {1}
    with node.transaction() as session:
        queued = session.scalars(sa.select(DeliveryRow.delivery_id).order_by(DeliveryRow.queued_at)).all()
    delivery_of = {uid: delivery_id for delivery_id, _kind, uid, _status in objects_sent(node)}
    left = defaultdict(list)
    for uid, study, modality in arrived:
        left[study].append((delivery_of[uid], modality))
    assert set(left) == set(STUDIES)
    for study in STUDIES:
        in_order = [each for each in queued if (each, "SEG") in left[study]]
        assert left[study] == [(each, modality) for each in in_order for modality in ("SEG", "SR")]
    assert len(logged(node, "destination_away")) == len(logged(node, "destination_back")) == 1
    assert not [line for line in node.log_lines if line.get("level") == "error"]


@pytest.mark.chaos
def test_a_sender_killed_before_it_noted_the_answer_sends_the_same_bytes_again(
    idle_node, scripted_pacs, write_series, tiny_phantom
):
    node = idle_node

    def kill_the_sender_once(number):
        if number == 1:
            os.kill(node.pid_of("send"), signal.SIGKILL)
        return 0xB000 if number == 2 else 0x0000

    scripted_pacs.answer = kill_the_sender_once
    serve(node, scripted_pacs.address)
    node.push(write_series(phantom=tiny_phantom))
    wait_until(lambda: delivered(node))
    (seg, _content), *_ = scripted_pacs.arrived
    assert scripted_pacs.times_arrived[seg] == 2
    assert [times for uid, times in scripted_pacs.times_arrived.items() if uid != seg] == [1]
    assert all(len(contents) == 1 for contents in scripted_pacs.contents.values())
    assert sorted((kind, status) for _id, kind, _uid, status in objects_sent(node)) == [("seg", 0xB000), ("sr", 0)]
    assert node.jobs("analysis")[0]["attempts"] == 1


def test_a_delivery_that_every_sender_dies_of_is_a_dead_letter_and_the_others_leave(
    idle_node, scripted_pacs, write_series, tiny_phantom
):
    node = idle_node
    poison = STUDIES[0]

    def kill_the_sender_of_the_poison(_number):
        _uid, content = scripted_pacs.arrived[-1]
        if poison.encode() in content:
            os.kill(node.pid_of("send"), signal.SIGKILL)
        return 0x0000

    scripted_pacs.answer = kill_the_sender_of_the_poison
    serve(node, scripted_pacs.address)
    os.kill(node.pid_of("send"), signal.SIGSTOP)  # so that both leave at once
    for study in STUDIES:
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1"}
        node.push(write_series(study, phantom=tiny_phantom, **uids))
    wait_until(lambda: len(node.jobs("delivery", DeliveryState.QUEUED)) == 2)
    os.kill(node.pid_of("send"), signal.SIGCONT)
    wait_until(lambda: node.jobs("delivery", DeliveryState.FAILED) and delivered(node))
    (dead,) = node.jobs("delivery", DeliveryState.FAILED)
    assert dead["reason"] == "given up: 3 times in a row the sender died while it sent this"
    (alert,) = logged(node, "delivery_failed")
    assert (alert["level"], alert["delivery_id"]) == ("error", dead["job_id"])
    came = [content for _uid, content in scripted_pacs.arrived if poison.encode() in content]
    assert (len(came), len(set(came))) == (3, 1)
    scripted_pacs.answer = lambda _number: 0x0000
    assert covnode("jobs", "retry", dead["job_id"], "--home", str(node.root)).returncode == 0
    wait_until(lambda: len(delivered(node)) == 2)


ANOTHER_HOST = """
import socket, sys
from pathlib import Path
socket.gethostname = lambda: "another-host"
from covnode.home import Home
from covnode.wiring.sender import run_sender
run_sender(Home(Path(sys.argv[1])))
"""


def home_on_another_host(node, folder):
    """Make a home with the same configuration, keys and files, for a sender beside that of the node."""
    folder.mkdir()
    for name in ("covnode.toml", "keys", "spool", "results", "deidentified", "outbox", "models"):
        (folder / name).symlink_to(node.root / name)
    return folder


@pytest.mark.chaos
def test_a_sender_frozen_while_another_took_its_delivery_over_marks_nothing(
    idle_node, scripted_pacs, write_series, tiny_phantom, tmp_path
):
    node = idle_node
    frozen = threading.Event()

    def freeze_the_sender_once(number):
        if number == 1:
            os.kill(node.pid_of("send"), signal.SIGSTOP)
            frozen.set()
        return 0x0000

    scripted_pacs.answer = freeze_the_sender_once
    serve(node, scripted_pacs.address, database__url=f"sqlite:///{node.root / 'covnode.db'}")
    node.push(write_series(phantom=tiny_phantom))
    assert frozen.wait(200)
    pid = node.pid_of("send")
    command = [sys.executable, "-c", ANOTHER_HOST, str(home_on_another_host(node, tmp_path / "other"))]
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: delivered(node))
        with node.transaction() as session:
            before = session.execute(sa.select(DeliveryRow.__table__)).all(), objects_sent(node)
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: logged(node, "delivery_taken_over"))
    finally:
        other.terminate()
        other.wait(60)
    with node.transaction() as session:
        assert (session.execute(sa.select(DeliveryRow.__table__)).all(), objects_sent(node)) == before
        assert session.scalars(sa.select(AnalysisRow.attempts)).all() == [1]
        (holder,) = session.scalars(sa.select(DeliveryRow.executor_id))
        assert holder.startswith("another-host-")
    assert sorted(scripted_pacs.times_arrived.values()) == [1, 2]
    assert all(len(contents) == 1 for contents in scripted_pacs.contents.values())


def test_a_dead_letter_is_listed_with_its_reason_and_queued_again_by_hand(
    idle_node, scripted_pacs, write_series, tiny_phantom
):
    node = idle_node
    where = ("--home", str(node.root))
    scripted_pacs.answer = lambda number: 0xA900 if number == 1 else 0x0000
    serve(node, scripted_pacs.address)
    node.push(write_series(phantom=tiny_phantom))
    wait_until(lambda: node.jobs("delivery", DeliveryState.BLOCKED))
    (dead,) = json.loads(covnode("jobs", "list", "--dead", "--json", *where).stdout)
    assert "A900" in dead["reason"]
    (alert,) = logged(node, "delivery_blocked")
    assert (alert["level"], alert["code"], alert["delivery_id"]) == ("error", "A900", dead["job_id"])
    doctor = {row["check"]: row for row in json.loads(covnode("doctor", "--json", *where).stdout)}
    assert not doctor["dead letters"]["ok"]
    assert "1 deliveries are parked" in doctor["dead letters"]["finding"]
    assert covnode("jobs", "retry", "--all-dead", "--destination", "other", *where).stdout.startswith("0 jobs")
    assert covnode("jobs", "retry", "--all-dead", "--destination", "pacs", *where).stdout.startswith("1 jobs")
    wait_until(lambda: delivered(node))
    assert json.loads(covnode("jobs", "list", "--dead", "--json", *where).stdout) == []
    assert sorted(scripted_pacs.times_arrived.values()) == [1, 2]
    assert all(len(contents) == 1 for contents in scripted_pacs.contents.values())
