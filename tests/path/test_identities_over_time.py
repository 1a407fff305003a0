"""Results find their patient after a rotation of the keys, a merge and a restart; after an erasure they do not."""

import json

import pytest
from processes import covnode, received, wait_until
from pydicom import dcmread

from covnode.deidentify import key_file

pytestmark = [pytest.mark.chaos, pytest.mark.slow]  # the PACS is away and the node is stopped in the middle

ANNA = {"PatientName": "Sentinelanna^A", "PatientID": "SENT-1", "IssuerOfPatientID": "HOSP"}
BERTA = {"PatientName": "Sentinelberta^B", "PatientID": "SENT-2", "IssuerOfPatientID": "HOSP"}


def told(node, *arguments):
    done = covnode("identities", *arguments, "--home", str(node.root))
    assert done.returncode == 0, done.stderr
    return done.stdout


def pseudonyms(node):
    """The pseudonymous Patient ID of each series that the worker sees, by our id."""
    folders = node.home.deidentified.glob("ser-*")
    return {folder.name[:16]: str(dcmread(folder / "00001.dcm").PatientID) for folder in folders}


def test_an_old_link_outlives_a_rotation_and_known_patients_keep_their_pseudonyms(idle_node, pacs, write_series):
    pacs.stop()
    node = idle_node
    node.init("--pacs", pacs.address)
    node.start()
    node.push(write_series("first", **ANNA))
    wait_until(lambda: any(job["attempts"] >= 1 for job in node.jobs("delivery")))
    (first,) = pseudonyms(node).values()
    ring = key_file.load(node.home.keys)
    assert first == ring.of_generation(1).patient_id("HOSP", "SENT-1")

    assert "Generation 2" in told(node, "rotate", "--reason", "yearly")
    pacs.start()
    assert {str(ds.PatientID) for ds in received(pacs, 2)} == {"SENT-1"}
    node.push(write_series("second", SeriesInstanceUID="2.25.101", StudyInstanceUID="2.25.102", **ANNA))
    node.push(write_series("third", SeriesInstanceUID="2.25.201", StudyInstanceUID="2.25.202", **BERTA))
    by_patient = {}
    for ds in received(pacs, 4):
        by_patient.setdefault(str(ds.PatientID), set()).add(str(ds.StudyInstanceUID))
    assert by_patient == {"SENT-1": {"2.25.102"}, "SENT-2": {"2.25.202"}}
    second = key_file.load(node.home.keys).of_generation(2).patient_id("HOSP", "SENT-2")
    assert sorted(pseudonyms(node).values()) == sorted([first, first, second])

    told(node, "merge", second, first, "--reason", "the same person, says the registration")
    node.push(write_series("fourth", SeriesInstanceUID="2.25.301", StudyInstanceUID="2.25.302", **BERTA))
    assert {str(ds.PatientID) for ds in received(pacs, 2)} == {"SENT-2"}
    assert list(pseudonyms(node).values()).count(first) == 3
    wait_until(lambda: len(node.jobs("delivery", "delivered")) == 4)

    found = json.loads(told(node, "lookup", first, "--reason", "a call", "--json"))
    assert {one["patient_id"] for one in found} == {"SENT-1", "SENT-2"}
    erased = told(node, "erase", first, "--reason", "a request", "--yes")
    assert all(series_id in erased for series_id in pseudonyms(node))
    assert "spool" in erased
    assert not list(node.home.outbox.rglob("*.dcm"))
    refused = covnode("identities", "lookup", first, "--reason", "a call", "--home", str(node.root))
    assert refused.returncode == 1

    rows = json.loads(told(node, "audit", "--json", "--last", "0"))
    actions = {row["action"] for row in rows}
    assert actions == {"rotate", "deliver", "merge", "lookup", "erase"}
    assert {row["actor"] for row in rows if row["action"] == "deliver"} == {"sender"}
    delivered = {subject for row in rows if row["action"] == "deliver" for subject in row["subjects"]}
    assert {job["job_id"] for job in node.jobs("delivery")} <= delivered
    node.stop()
    said = (json.dumps(rows) + node.log.read_text() + erased + refused.stderr).lower()
    assert "sentinel" not in said
    assert "sent-" not in said
    assert any(line["event"] in {"worker_confined", "worker_not_confined"} for line in node.log_lines)
