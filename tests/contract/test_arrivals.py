"""Instances that the doors made durable, in the tables of both databases."""

import re
import threading

import msgspec
import pytest
import sqlalchemy as sa
from arriving import arrived

from covnode.clock import utc_now
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
    assert len(studies) == 2
    assert {row.study_id for row in rows(transaction, SeriesRow)} == {row.study_id for row in studies}
    assert rows(transaction, InstanceRow)[0].facts["position_lps_mm"] == [0.0, 0.0, 5.0]


def test_the_same_instance_twice_in_one_batch_is_one(transaction):
    record(transaction, arrived(1), arrived(1))
    assert len(rows(transaction, InstanceRow)) == 1


def test_the_same_sop_instance_with_other_content_is_kept_beside_the_first(transaction):
    record(transaction, arrived(1), arrived(1, content_digest="f" * 64))
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


def test_files_of_parts_that_late_slices_began_are_known(transaction):
    (first,) = record(transaction, arrived(1), late="new_series")
    close(transaction, first)
    record(transaction, arrived(2), late="new_series")
    with transaction() as session:
        names = ["series/1.dcm", "series/2.dcm", "series/3.dcm"]
        assert arrivals.unrecorded(session, "series", names) == ["series/3.dcm"]


def test_the_names_of_all_files_come_page_by_page(transaction):
    record(transaction, *(arrived(number) for number in range(1, 6)))
    pages, after_id = [], 0
    with transaction() as session:
        while page := arrivals.file_names(session, after_id, 2):
            pages.append([name for _, _, name in page])
            after_id = page[-1][0]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sum(pages, []) == [f"series/{number}.dcm" for number in range(1, 6)]  # noqa: RUF017 (three pages)


def as_before_the_migration(transaction, series_id):
    """Make a series look as the release without studies recorded it."""
    with transaction() as session:
        session.get_one(SeriesRow, series_id).study_id = None
        session.execute(sa.delete(StudyRow))
        renamed = series_id + "/" + InstanceRow.content_digest + ".dcm"
        session.execute(sa.update(InstanceRow).where(InstanceRow.series_id == series_id).values(file_name=renamed))


@pytest.mark.parametrize("late", ["amend", "ignore", "new_series"])
def test_a_late_slice_gives_a_series_of_before_its_study(transaction, late):
    (series_id,) = record(transaction, arrived(1))
    close(transaction, series_id)
    as_before_the_migration(transaction, series_id)
    record(transaction, arrived(1), late=late)
    assert rows(transaction, StudyRow) == []
    record(transaction, arrived(2), late=late)
    (study,) = rows(transaction, StudyRow)
    assert {row.study_id for row in rows(transaction, SeriesRow)} == {study.study_id}


def test_an_instance_that_lies_in_a_folder_of_before_and_is_sent_again_is_known_in_both(transaction):
    (series_id,) = record(transaction, arrived(1))
    as_before_the_migration(transaction, series_id)
    record(transaction, arrived(1, file_name="series/series-1.dcm"))
    old, new = f"{series_id}/series-1.dcm", "series/series-1.dcm"
    with transaction() as session:
        assert arrivals.unrecorded(session, "series", [new, "series/other.dcm"]) == ["series/other.dcm"]
        assert arrivals.unrecorded(session, series_id, [old, f"{series_id}/x.dcm"]) == [f"{series_id}/x.dcm"]
    assert [row.file_name for row in rows(transaction, InstanceRow)] == [old]


def test_only_a_slice_that_counts_keeps_its_study_waiting(transaction):
    (series_id,) = record(transaction, arrived(1))

    def fed_at():
        return rows(transaction, StudyRow)[0].last_instance_at

    first = fed_at()
    record(transaction, arrived(1))
    assert fed_at() == first
    close(transaction, series_id)
    record(transaction, arrived(2), late="ignore")
    assert fed_at() == first
    record(transaction, arrived(3))
    assert fed_at() > first


def test_an_instance_of_many_gigabytes_is_recorded(transaction):
    record(transaction, arrived(1, size_bytes=5_000_000_000))
    assert rows(transaction, InstanceRow)[0].size_bytes == 5_000_000_000


@pytest.fixture
def archive(transaction):
    """An archive that is large enough for the planner to care."""
    with transaction() as session:
        now = utc_now()
        times = {"received_at": now, "last_instance_at": now}
        counts = {"stat": False, "choice_revision": 0}
        session.execute(
            sa.insert(StudyRow),
            [{"study_id": f"std-{n}", "study_digest": f"study-{n}", **times, **counts} for n in range(1000)],
        )
        state = {"state": SeriesState.HANDED_OVER, "revision": 1, "state_at": now, "source_ae_title": "CT"}
        session.execute(
            sa.insert(SeriesRow),
            [
                {"series_id": f"ser-{n}", "study_id": f"std-{n // 3}", "series_digest": f"old-{n}", **times, **state}
                for n in range(3000)
            ],
        )
        size = {"size_bytes": 1, "sop_class_uid": "1.2", "transfer_syntax_uid": "1.2", "received_at": now}
        session.execute(
            sa.insert(InstanceRow),
            [
                {"series_id": f"ser-{n // 7}", "sop_digest": f"sop-{n}", "content_digest": f"c-{n}", **size}
                | {"file_name": f"old-{n // 7}/c-{n}.dcm"}
                for n in range(21_000)
            ],
        )
        session.execute(sa.text("ANALYZE"))
    return transaction


@pytest.mark.parametrize("late", ["amend", "new_series"])
def test_neither_recording_nor_a_start_reads_the_whole_archive(archive, late):
    """No statement scans instances or series, by the plan that the database itself makes for it."""
    ran = []
    with archive() as session:
        engine = session.get_bind()

    def note(_connection, _cursor, statement, parameters, _context, is_many):
        if not is_many and not statement.startswith(("INSERT", "EXPLAIN")):
            ran.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    record(archive, *(arrived(number, name="old-5", study_digest="study-1") for number in range(20)), late=late)
    with archive() as session:
        arrivals.unrecorded(session, "old-5", [])
        arrivals.unrecorded(session, "ser-5", [])
        arrivals.file_names(session, 10_000, 100)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert len(ran) > 8
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        for statement, parameters in ran:
            plan = connection.exec_driver_sql(f"{explain} {statement}", parameters)
            steps = [str(row[-1]) for row in plan]
            assert steps
            assert not [step for step in steps if re.search("SCAN (instances|series)|Seq Scan", step)], (
                statement,
                steps,
            )


def test_two_recorders_of_one_series_lose_nothing(transaction):
    failures = []

    def one(start):
        for number in range(start, start + 30):
            instance = arrived(number)
            for _ in range(5):
                try:
                    record(transaction, instance, msgspec.structs.replace(instance, sop_digest=f"b-{number}"))
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
