import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from arriving import arrived
from msgspec.structs import asdict
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from structlog.testing import capture_logs

from covnode.clock import utc_now
from covnode.errors import TransientError
from covnode.home import Home
from covnode.receive.assembly import ABORTED, RELEASED, AssociationLedger
from covnode.records.job import SeriesState
from covnode.settings import Settings
from covnode.store import arrivals, series
from covnode.store.tables import SeriesRow
from covnode.wiring import counting
from covnode.wiring.assembling import Assembling
from covnode.wiring.node import Node

SOURCE = {"ae_title": "SCANNER", "host": "h", "port": 104, "count_by_find": True}


def settings(**completeness):
    limits = {"idle_s": 5, "gap_idle_s": 30, "open_idle_s": 20, "aborted_idle_s": 60, "watchdog_s": 3600}
    return {"completeness": limits | completeness}


@pytest.fixture
def node_with(tmp_path, database_url):
    def make(**values):
        node = Node(Home(tmp_path), Settings.model_validate({"database": {"url": database_url}, **values}))
        nodes.append(node)
        return node

    nodes = []
    yield make
    for node in nodes:
        node.engine.dispose()


def push(node, numbers=range(1, 11), **values):
    with node.transaction() as session:
        return arrivals.record(session, [arrived(number, **values) for number in numbers], "amend")[0]


def let_pass(node, quiet_s, age_s=None):
    """Move what came into the past, in place of waiting."""
    with node.transaction() as session:
        for row in session.query(SeriesRow):
            row.last_instance_at = utc_now() - timedelta(seconds=quiet_s)
            row.state_at = min(row.state_at, utc_now() - timedelta(seconds=age_s or quiet_s))


def released(*series_ids, how=RELEASED):
    ledger = AssociationLedger()
    for series_id in series_ids:
        ledger.feeds("1", series_id)
    ledger.ended("1", how)
    return ledger


def found(node, series_id):
    with node.transaction() as session:
        return session.get_one(SeriesRow, series_id)


def write_instance(node, folder="series"):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "2.25.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.1", "2.25.2"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = node.home.spool / folder / "1.dcm"
    path.parent.mkdir(parents=True)
    dataset.save_as(path, enforce_file_format=True)


def test_a_counted_series_is_complete_at_once_with_its_evidence(node_with):
    node = node_with(**settings())
    series_id = push(node, expected=10)
    Assembling(node, released(series_id)).run_once()
    row = found(node, series_id)
    assert (row.state, row.completeness) == (
        SeriesState.COMPLETE,
        "association released, 10 of 10 expected instances",
    )
    assert (row.evidence["rule"], row.evidence["expected_by"]) == ("expected_count", "tag")
    assert row.evidence["geometry"]["spacing_mm"] == 5.0


@pytest.mark.parametrize(
    ("numbers", "how", "quiet_s", "complete"),
    [
        (range(10), RELEASED, 4, False),
        (range(10), RELEASED, 6, True),
        ([0, 1, 2, 4, 5, 6], RELEASED, 6, False),
        ([0, 1, 2, 4, 5, 6], RELEASED, 31, True),
        (range(10), ABORTED, 31, False),
        (range(10), ABORTED, 61, True),
        (range(10), None, 6, False),
        (range(10), None, 21, True),
    ],
)
def test_a_series_waits_as_its_evidence_asks(node_with, numbers, how, quiet_s, complete):
    node = node_with(**settings())
    series_id = push(node, numbers)
    ledger = AssociationLedger()
    ledger.feeds("1", series_id)
    if how:
        ledger.ended("1", how)
    let_pass(node, quiet_s)
    Assembling(node, ledger).run_once()
    assert (found(node, series_id).state == SeriesState.COMPLETE) == complete


def test_a_series_that_never_falls_quiet_is_closed_and_reported(node_with):
    node = node_with(**settings())
    series_id = push(node)
    ledger = AssociationLedger()
    ledger.feeds("1", series_id)
    assembling = Assembling(node, ledger)
    let_pass(node, 0, age_s=3500)
    assembling.run_once()
    assert found(node, series_id).state == SeriesState.RECEIVING
    let_pass(node, 0, age_s=3700)
    with capture_logs() as logs:
        assembling.run_once()
    assert found(node, series_id).evidence["rule"] == "watchdog"
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("series_stuck", "error"),
        ("series_complete", "info"),
    ]


def test_instances_are_read_once_while_a_series_is_quiet_and_never_while_it_comes_in(node_with, monkeypatch):
    node = node_with(**settings())
    series_id = push(node, [0, 1, 2, 4, 5])
    read = Counter()
    facts_of = series.facts_of
    monkeypatch.setattr(series, "facts_of", lambda *of: (read.update(["read"]), facts_of(*of))[1])
    ledger = AssociationLedger()
    ledger.feeds("1", series_id)
    assembling = Assembling(node, ledger)
    assembling.run_once()
    assert read["read"] == 0
    ledger.ended("1", RELEASED)
    for _ in range(3):
        assembling.run_once()
    assert read["read"] == 1
    push(node, [3])
    let_pass(node, 6)
    assembling.run_once()
    assert read["read"] == 2
    assert found(node, series_id).completeness.startswith("association released, 6 slices without a gap at 5 mm")


def test_a_study_that_names_two_patients_goes_to_quarantine(node_with):
    node = node_with(**settings())
    first = push(node, name="one", patient_digest="p1")
    other_study = push(node, name="three", study_digest="elsewhere", patient_digest="p3")
    assembling = Assembling(node, released(first, other_study))
    let_pass(node, 6)
    assembling.run_once()
    assert found(node, first).state == SeriesState.COMPLETE
    second = push(node, name="two", patient_digest="p2")
    let_pass(node, 61)
    assembling.run_once()
    for series_id in (first, second):
        row = found(node, series_id)
        assert (row.state, row.reason_code) == (SeriesState.QUARANTINED, "identity_conflict")
    assert found(node, second).completeness
    assert found(node, other_study).state == SeriesState.COMPLETE


def test_a_series_released_from_a_conflict_stays_released(node_with):
    node = node_with(**settings())
    first, second = push(node, name="one", patient_digest="p1"), push(node, name="two", patient_digest="p2")
    assembling = Assembling(node, released(first, second))
    let_pass(node, 6)
    assembling.run_once()
    with node.transaction() as session:
        series.release_from_quarantine(session, first)
    third = push(node, name="three", patient_digest="p1")
    let_pass(node, 61)
    assembling.run_once()
    states = [found(node, series_id).state for series_id in (first, second, third)]
    assert states == [SeriesState.COMPLETE, SeriesState.QUARANTINED, SeriesState.QUARANTINED]


def run_until_complete(assembling, node, series_id, timeout_s=5.0):
    deadline_s = time.monotonic() + timeout_s
    while found(node, series_id).state == SeriesState.RECEIVING:
        assert time.monotonic() < deadline_s
        assembling.run_once()
    return found(node, series_id)


def test_the_source_is_asked_once_and_its_count_is_the_evidence(node_with):
    node = node_with(**settings(), peers={"ct": SOURCE})
    series_id = push(node)
    write_instance(node)
    asked = []

    def count(_settings, *question):
        asked.append(question)
        return 12

    assembling = Assembling(node, released(series_id), count)
    assembling.run_once()
    assert not asked  # it is not quiet yet
    let_pass(node, 31)
    row = run_until_complete(assembling, node, series_id)
    assert asked == [("ct", "2.25.1", "2.25.2")]
    assert row.completeness == "association released, 10 of 12 expected instances, no slice for 30 s"
    assert (row.evidence["expected_by"], row.expected_instances) == ("c-find", 12)


def test_a_count_below_what_has_come_is_no_count(node_with):
    node = node_with(**settings(), peers={"ct": SOURCE})
    series_id = push(node)
    write_instance(node)
    assembling = Assembling(node, released(series_id), lambda *_: 3)
    let_pass(node, 6)
    row = run_until_complete(assembling, node, series_id)
    assert (row.evidence["rule"], row.evidence["expected"]) == ("no_gap", None)


def test_a_source_that_is_silent_delays_no_other_series_and_its_own_not_for_ever(node_with, monkeypatch):
    monkeypatch.setattr(counting, "TIMEOUT_S", 0.5)
    node = node_with(**settings(), peers={"ct": SOURCE})
    silent, counted = push(node), push(node, name="counted", expected=10)
    write_instance(node)
    answers = threading.Event()
    assembling = Assembling(node, released(silent, counted), lambda *_: answers.wait(10))
    try:
        let_pass(node, 6)
        assembling.run_once()
        assert found(node, counted).state == SeriesState.COMPLETE
        assert found(node, silent).state == SeriesState.RECEIVING
        assert run_until_complete(assembling, node, silent).evidence["rule"] == "no_gap"
    finally:
        answers.set()


def test_a_source_that_fails_is_left_alone_for_a_while(node_with):
    node = node_with(**settings(), peers={"ct": SOURCE})
    first, second = push(node), push(node, name="two")
    write_instance(node)
    write_instance(node, "two")
    asked = Counter()

    def count(*_):
        asked.update(["asked"])
        raise TransientError("ct does not answer")

    assembling = Assembling(node, released(first, second), count)
    let_pass(node, 6)
    with node.transaction() as session:
        session.get_one(SeriesRow, second).last_instance_at = utc_now()
    with capture_logs() as logs:
        run_until_complete(assembling, node, first)
        let_pass(node, 6)
        run_until_complete(assembling, node, second)
    assert asked["asked"] == 1
    assert [log["reason"] for log in logs if log["event"] == "count_by_find_failed"] == ["ct does not answer"]


def test_a_source_that_cannot_be_asked_is_not(node_with):
    peers = {"ct": SOURCE | {"count_by_find": False}, "pacs": SOURCE | {"ae_title": "PACS"}}
    node = node_with(**settings(), peers=peers)
    series_id = push(node)
    assembling = Assembling(node, released(series_id), lambda *_: pytest.fail("it was asked"))
    let_pass(node, 6)
    assembling.run_once()
    assert found(node, series_id).state == SeriesState.COMPLETE


def test_the_facts_survive_the_tables(node_with):
    node = node_with(**settings())
    series_id = push(node, [4])
    with node.transaction() as session:
        assert [asdict(facts) for facts in series.facts_of(session, series_id)] == [asdict(arrived(4).facts)]
