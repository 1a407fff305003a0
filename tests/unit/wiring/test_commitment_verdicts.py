"""What a storage commitment says follows what lies on the disk, by instance."""

import threading
import time
from hashlib import sha256

import pytest
import sqlalchemy as sa
from commitment_cases import CT, DIGEST, MR, node_with, put_instance, request_for

from covnode.errors import TransientError
from covnode.receive.commitment_report import Reference
from covnode.store.tables import InstanceRow
from covnode.wiring.commitment_verdicts import Verdicts


@pytest.fixture
def node(tmp_path, database_url):
    return node_with(tmp_path, database_url)


def verdict(node, request, patience_s=0.0):
    return Verdicts(node, DIGEST).on(request, time.monotonic() + patience_s)


def test_each_instance_is_answered_for_on_its_own(node):
    put_instance(node, "1.1")
    put_instance(node, "1.2", sop_class=MR)
    put_instance(node, "1.3", ignored=True)
    put_instance(node, "1.4").unlink()
    put_instance(node, "1.5").write_bytes(b"short")
    report = verdict(node, request_for("1.1", "1.2", "1.3", "1.4", "1.5", "1.6"))
    assert report.transaction_uid == "1.2.99"
    assert report.stored == (Reference(CT, "1.1"), Reference(CT, "1.3"))
    assert report.failed == (
        (Reference(CT, "1.2"), 0x0119),
        (Reference(CT, "1.4"), 0x0112),
        (Reference(CT, "1.5"), 0x0112),
        (Reference(CT, "1.6"), 0x0112),
    )


def test_a_file_with_the_meta_information_of_another_time_is_judged_by_its_data_set(node):
    data_set = bytes(1000)
    other_meta = bytes(128) + b"DICM\x02\0\0\0UL\x04\0" + (6).to_bytes(4, "little") + b"shorty"
    path = put_instance(node, "1.1")
    with node.transaction() as session:
        session.execute(sa.update(InstanceRow).values(file_name=f"ser-1.1/{sha256(data_set).hexdigest()}.dcm"))
    replaced = path.with_name(f"{sha256(data_set).hexdigest()}.dcm")
    replaced.write_bytes(other_meta + data_set)
    assert verdict(node, request_for("1.1")).stored == (Reference(CT, "1.1"),)
    for damaged in (other_meta + data_set[:-2], other_meta + b"x" + data_set[1:], b""):
        replaced.write_bytes(damaged)
        assert verdict(node, request_for("1.1")).failed == ((Reference(CT, "1.1"), 0x0112),)


def test_an_instance_that_came_in_two_series_is_committed_while_one_of_its_files_is_there(node):
    first = put_instance(node, "1.1", series_id="ser-a", sop_class=MR)
    second = put_instance(node, "1.1", series_id="ser-b")
    first.unlink()
    assert verdict(node, request_for("1.1")).stored == (Reference(CT, "1.1"),)
    second.unlink()
    assert verdict(node, request_for("1.1")).failed == ((Reference(CT, "1.1"), 0x0112),)


def test_an_instance_that_is_named_twice_is_answered_twice(node):
    put_instance(node, "1.1")
    assert verdict(node, request_for("1.1", "1.1")).stored == (Reference(CT, "1.1"),) * 2


def test_a_row_that_follows_its_success_is_waited_for(node):
    row = threading.Timer(0.4, put_instance, (node, "1.1"))
    row.start()
    report = verdict(node, request_for("1.1"), patience_s=10)
    row.join()
    assert (report.stored, report.failed) == ((Reference(CT, "1.1"),), ())


def test_more_instances_than_one_statement_takes(node):
    put_instance(node, "1.1")
    report = verdict(node, request_for(*(f"2.{number}" for number in range(1200)), "1.1"))
    assert (len(report.failed), report.stored) == (1200, (Reference(CT, "1.1"),))


def test_a_database_that_is_away_says_nothing(tmp_path):
    node = node_with(tmp_path, f"sqlite:///{tmp_path / 'none' / 'covnode.db'}")
    with pytest.raises(TransientError):
        verdict(node, request_for("1.1"))
