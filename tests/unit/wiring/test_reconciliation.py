"""The spool against the database: all that is durable gets its row, and nothing bad ends it before its end."""

import os
import shutil
import threading

import pytest
import sqlalchemy as sa
from spooled import ROOT, keep
from structlog.testing import capture_logs

from covnode.deidentify import key_file
from covnode.errors import RowExists, RowRefused, TransientError
from covnode.home import Home
from covnode.receive.spool import Spool
from covnode.settings import Settings
from covnode.store import arrivals
from covnode.store.tables import InstanceRow, SeriesRow
from covnode.wiring import reconciliation
from covnode.wiring.node import Node
from covnode.wiring.reconciliation import reconcile


@pytest.fixture
def node(tmp_path, database_url):
    node = Node(Home(tmp_path), Settings.model_validate({"database": {"url": database_url}}))
    for folder in node.home.folders:
        folder.mkdir(parents=True, exist_ok=True)
    yield node
    node.engine.dispose()


@pytest.fixture
def spool(node):
    return Spool(node.home.spool, node.home.incoming, key_file.create(node.home.keys).digest)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    for pause in ("_AGAIN_S", "_SECOND_S"):
        monkeypatch.setattr(reconciliation, pause, 0.001)


def start(node, spool):
    """Reconcile, as every start does; return what was logged, which names nobody."""
    with capture_logs() as logs:
        reconcile(node, spool, threading.Event())
    for secret in (ROOT, "MRN", "DOE", "JANE"):
        assert secret not in str(logs)
    return logs


def events(logs):
    return [line["event"] for line in logs]


def recorded(node):
    with node.transaction() as session:
        return set(session.scalars(sa.select(InstanceRow.file_name)))


def test_what_is_durable_gets_its_row_at_the_first_start_and_costs_nothing_at_the_second(node, spool):
    kept = [keep(spool, 1), keep(spool, 2), keep(spool, 1, series=2)]
    logs = start(node, spool)
    assert events(logs) == ["instances_recovered", "instances_recovered", "spool_reconciled"]
    assert (logs[-1]["recorded"], logs[-1]["missing"]) == (3, 0)
    assert recorded(node) == {one.file_name for one in kept}
    assert events(start(node, spool)) == ["spool_reconciled"]


def test_a_file_that_cannot_be_read_holds_no_other_up(node, spool):
    first = keep(spool, 1)
    (node.home.spool / first.series_digest / f"{'0' * 64}.dcm").mkdir()
    second = keep(spool, 1, series=2)
    logs = start(node, spool)
    assert recorded(node) == {first.file_name, second.file_name}
    (told,) = [line for line in logs if line["event"] == "files_not_recovered"]
    assert told["errors"] == {"IsADirectoryError": 1}
    assert told["folder"] == first.series_digest[:16]
    assert events(logs)[-1] == "spool_reconciled"


def test_a_folder_that_cannot_be_read_holds_no_other_up(node, spool, monkeypatch):
    first, second = keep(spool, 1), keep(spool, 1, series=2)

    def listed(folder, series):
        if series == first.series_digest:
            raise PermissionError(13, "denied", f"{folder}/{ROOT}")
        return [second.file_name]

    monkeypatch.setattr(reconciliation, "durable_files", listed)
    logs = start(node, spool)
    assert recorded(node) == {second.file_name}
    assert ("folder_not_reconciled", "PermissionError") in [(line["event"], line.get("error")) for line in logs]


def test_a_spool_that_cannot_be_read_is_told(node, spool):
    shutil.rmtree(node.home.spool)
    assert events(start(node, spool)) == ["spool_not_read", "spool_reconciled"]


def damage(node, kept):
    path = node.home.spool / kept.file_name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def test_a_file_that_another_host_may_still_be_writing_is_no_damaged_one(node, spool):
    path = damage(node, keep(spool, 1))
    os.utime(path)
    assert events(start(node, spool)) == ["spool_reconciled"]
    assert path.exists()
    assert recorded(node) == set()


def test_a_damaged_file_is_set_aside(node, spool):
    bad, good = keep(spool, 1), keep(spool, 2)
    path = damage(node, bad)
    assert "damaged_file_set_aside" in events(start(node, spool))
    assert recorded(node) == {good.file_name}
    assert not path.exists()
    assert [file.name for file in node.home.damaged.iterdir()] == [f"{bad.series_digest[:16]}-{path.name}"]


def test_a_damaged_file_that_cannot_be_moved_holds_no_other_up(node, spool):
    bad, good = keep(spool, 1), keep(spool, 2)
    path = damage(node, bad)
    node.home.damaged.rmdir()
    node.home.damaged.write_bytes(b"in the way")
    logs = start(node, spool)
    assert recorded(node) == {good.file_name}
    assert path.exists()
    assert events(logs) == ["files_not_recovered", "instances_recovered", "spool_reconciled"]


@pytest.mark.parametrize("error", [RowExists("exists"), RowRefused("too long"), ValueError(f"{ROOT}: no NUL")])
def test_an_instance_that_cannot_be_recorded_holds_no_other_up(node, spool, monkeypatch, error):
    bad, good, other = keep(spool, 1), keep(spool, 2), keep(spool, 1, series=2)
    record = arrivals.record

    def refusing(session, found, *how):
        if bad in found:
            raise error
        return record(session, found, *how)

    monkeypatch.setattr(arrivals, "record", refusing)
    logs = start(node, spool)
    assert recorded(node) == {good.file_name, other.file_name}
    assert [line["error"] for line in logs if line["event"] == "instance_not_recovered"] == [type(error).__name__]
    assert logs[-1]["recorded"] == 2


def test_a_database_that_is_away_is_waited_for_and_a_row_of_another_process_is_looked_at_again(
    node, spool, monkeypatch
):
    kept = keep(spool, 1)
    errors = [TransientError("away"), RowExists("exists"), TransientError("away")]
    record = arrivals.record

    def failing(session, found, *how):
        if errors:
            raise errors.pop()
        return record(session, found, *how)

    monkeypatch.setattr(arrivals, "record", failing)
    assert events(start(node, spool)) == ["instances_recovered", "spool_reconciled"]
    assert recorded(node) == {kept.file_name}


def test_asked_to_stop_it_waits_for_no_database(node, spool, monkeypatch):
    keep(spool, 1)
    stopping = threading.Event()

    def away(*_):
        stopping.set()
        raise TransientError("away")

    monkeypatch.setattr(arrivals, "unrecorded", away)
    with capture_logs() as logs:
        reconcile(node, spool, stopping)
    assert logs == []


def test_rows_without_a_file_are_counted_by_their_series(node, spool, monkeypatch):
    monkeypatch.setattr(reconciliation, "_PAGE", 2)
    kept = [keep(spool, number, series) for series in (1, 2) for number in (1, 2, 3)]
    start(node, spool)
    for one in kept[2:]:
        (node.home.spool / one.file_name).unlink()
    logs = start(node, spool)
    assert sorted(line["instances"] for line in logs if line["event"] == "files_missing") == [1, 3]
    assert logs[-1]["missing"] == 4


def test_an_instance_of_a_folder_of_before_that_is_sent_again_is_told_at_no_start(node, spool):
    kept = keep(spool, 1)
    start(node, spool)
    with node.transaction() as session:
        series = session.scalars(sa.select(SeriesRow)).one()
        row = session.scalars(sa.select(InstanceRow)).one()
        series.study_id = None
        row.file_name = f"{series.series_id}/{kept.content_digest}.dcm"
        old = node.home.spool / row.file_name
    old.parent.mkdir()
    (node.home.spool / kept.file_name).rename(old)
    again = keep(spool, 1)
    with node.transaction() as session:
        arrivals.record(session, [again], "amend")
    assert (node.home.spool / again.file_name).exists()
    assert events(start(node, spool)) == ["spool_reconciled"]


def test_what_has_just_come_is_left_to_the_recorder(node, spool):
    young, old = keep(spool, 1), keep(spool, 2)
    os.utime(node.home.spool / old.file_name, (1_000_000_000, 1_000_000_000))
    reconcile(node, spool, threading.Event(), min_age_s=300)
    assert recorded(node) == {old.file_name}
    start(node, spool)
    assert recorded(node) == {old.file_name, young.file_name}
