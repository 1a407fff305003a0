"""Instances that the doors made durable, in the tables of both databases."""

import dataclasses
import threading

import pytest
from arriving import arrived

from covnode.errors import RowExists
from covnode.records.arrival import SliceFacts
from covnode.records.job import SeriesState
from covnode.store import arrivals, series
from covnode.store.engine import make_engine
from covnode.store.sessions import transactions
from covnode.store.tables import InstanceRow, SeriesRow, StudyRow

pytestmark = pytest.mark.xdist_group("dbos")


@pytest.fixture
def transaction(database_url):
    engine = make_engine(database_url)
    yield transactions(engine)
    engine.dispose()


def record(transaction, *instances, late="amend"):
    with transaction() as session:
        return arrivals.record(session, list(instances), late)


def rows(transaction, table):
    with transaction() as session:
        return session.query(table).order_by(table.received_at).all()


def close(transaction, series_id):
    with transaction() as session:
        row = session.get_one(SeriesRow, series_id)
        series.mark_complete(session, series_id, row.revision, "why", {})


def test_a_batch_makes_its_studies_series_and_instances_once(transaction):
    batch = [
        arrived(1),
        arrived(2),
        arrived(1, name="other"),
        arrived(1, name="x", study_digest="u", facts=SliceFacts(stat=True)),
    ]
    ids = record(transaction, *batch)
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert record(transaction, *batch) == ids
    assert [row.instance_count for row in rows(transaction, SeriesRow)] == [2, 1, 1]
    studies = rows(transaction, StudyRow)
    assert sorted(row.stat for row in studies) == [False, True]
    assert {row.study_id for row in rows(transaction, SeriesRow)} == {row.study_id for row in studies}
    assert rows(transaction, InstanceRow)[0].facts["position_lps_mm"] == [0.0, 0.0, 5.0]


def test_the_same_instance_twice_in_one_batch_is_one(transaction):
    record(transaction, arrived(1), arrived(1))
    assert len(rows(transaction, InstanceRow)) == 1


def test_the_same_sop_instance_with_other_content_is_kept_beside_the_first(transaction):
    record(transaction, arrived(1), arrived(1, content_sha256="f" * 64))
    assert [row.instance_count for row in rows(transaction, SeriesRow)] == [2]


def test_a_late_slice_amends_its_series(transaction):
    (series_id,) = record(transaction, arrived(1))
    close(transaction, series_id)
    record(transaction, arrived(1))
    assert [(row.revision, row.state) for row in rows(transaction, SeriesRow)] == [(1, SeriesState.COMPLETE)]
    record(transaction, arrived(2))
    (row,) = rows(transaction, SeriesRow)
    assert (row.revision, row.state, row.completeness) == (2, SeriesState.RECEIVING, None)


def test_a_late_slice_is_kept_and_left_out_where_it_is_to_be_ignored(transaction):
    (series_id,) = record(transaction, arrived(1), late="ignore")
    close(transaction, series_id)
    assert record(transaction, arrived(2), late="ignore") == [series_id]
    (row,) = rows(transaction, SeriesRow)
    assert (row.revision, row.state, row.instance_count) == (1, SeriesState.COMPLETE, 1)
    assert [instance.ignored for instance in rows(transaction, InstanceRow)] == [False, True]


def test_late_slices_begin_a_series_of_their_own_where_that_is_asked_for(transaction):
    (first,) = record(transaction, arrived(1), late="new_series")
    close(transaction, first)
    second, again = record(transaction, arrived(2), arrived(3), late="new_series")
    assert second == again != first
    assert record(transaction, arrived(1), late="new_series") == [first]
    close(transaction, second)
    (third,) = record(transaction, arrived(4), late="new_series")
    assert third not in {first, second}
    assert [row.instance_count for row in rows(transaction, SeriesRow)] == [1, 2, 1]


def test_what_no_row_knows_is_found(transaction):
    record(transaction, arrived(1), arrived(2))
    with transaction() as session:
        names = ["series/1.dcm", "series/2.dcm", "series/3.dcm"]
        assert arrivals.unrecorded(session, "series", names) == ["series/3.dcm"]
        assert [name for _, name in arrivals.file_names(session)] == ["series/1.dcm", "series/2.dcm"]


def test_two_recorders_of_one_series_lose_nothing(transaction):
    failures = []

    def one(start):
        for number in range(start, start + 30):
            instance = arrived(number)
            for _ in range(5):
                try:
                    record(transaction, instance, dataclasses.replace(instance, sop_digest=f"b-{number}"))
                    break
                except RowExists:
                    continue
            else:
                failures.append(number)

    threads = [threading.Thread(target=one, args=(start,)) for start in (0, 15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    (row,) = rows(transaction, SeriesRow)
    assert row.instance_count == len(rows(transaction, InstanceRow)) == 90
