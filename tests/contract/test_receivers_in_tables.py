"""Which of several receivers sees to a series, on both databases."""

import pytest
from arriving import arrived

from covnode.records.job import SeriesState
from covnode.store import arrivals, executors, series, studies
from covnode.store.tables import SeriesRow

A, B, C = (f"{host}:receiver-0" for host in "abc")

pytestmark = pytest.mark.xdist_group("dbos")


def record(transaction, receiver, *instances):
    with transaction() as session:
        return arrivals.record(session, list(instances), "amend", receiver)


def beat(transaction, *receivers):
    with transaction() as session:
        for receiver in receivers:
            executors.beat(session, receiver, executors.RECEIVER)


def adopt(transaction, receiver):
    with transaction() as session:
        return series.adopt(session, receiver)


def seen_to(transaction, receiver, state=SeriesState.RECEIVING):
    with transaction() as session:
        return [row.series_id for row in series.in_state(session, state, receiver)]


def test_a_series_is_seen_to_by_whoever_recorded_its_last_instance(transaction):
    (series_id,) = record(transaction, A, arrived(1))
    assert (seen_to(transaction, A), seen_to(transaction, B)) == ([series_id], [])
    record(transaction, B, arrived(2))
    assert (seen_to(transaction, A), seen_to(transaction, B)) == ([], [series_id])
    # Found by one in the spool of both, and then recorded by the one that received it.
    record(transaction, A, arrived(2))
    assert seen_to(transaction, A) == [series_id]


def test_a_repeated_instance_takes_no_series_away_that_is_complete(transaction):
    (series_id,) = record(transaction, A, arrived(1))
    with transaction() as session:
        series.mark_complete(session, series_id, 1, "why")
    record(transaction, B, arrived(1))
    assert seen_to(transaction, A, SeriesState.COMPLETE) == [series_id]
    with transaction() as session:
        assert len(studies.waiting(session, A)) == 1
        assert studies.waiting(session, B) == []


def test_what_nobody_sees_to_is_everybodys_until_one_adopts_it(transaction):
    (series_id,) = record(transaction, None, arrived(1))
    assert seen_to(transaction, A) == seen_to(transaction, B) == [series_id]
    beat(transaction, A, B)
    assert [adopt(transaction, A), adopt(transaction, B)] == [1, 0]
    assert (seen_to(transaction, A), seen_to(transaction, B)) == ([series_id], [])


def test_only_what_a_receiver_without_a_row_left_is_adopted_and_once(transaction):
    beat(transaction, A, B, C)
    ids = {name: record(transaction, name, arrived(1, name=name))[0] for name in (A, B)}
    assert adopt(transaction, C) == 0
    with transaction() as session:
        executors.forget(session, A)
    assert [adopt(transaction, C), adopt(transaction, B)] == [1, 0]
    assert (seen_to(transaction, B), seen_to(transaction, C)) == ([ids[B]], [ids[A]])


@pytest.mark.parametrize("state", [SeriesState.COMPLETE, SeriesState.CHOSEN, SeriesState.HANDED_OVER])
def test_what_waits_for_the_choice_or_the_intake_is_adopted_and_what_is_handed_over_is_not(transaction, state):
    (series_id,) = record(transaction, A, arrived(1))
    with transaction() as session:
        session.get_one(SeriesRow, series_id).state = state
    assert adopt(transaction, B) == (state != SeriesState.HANDED_OVER)
