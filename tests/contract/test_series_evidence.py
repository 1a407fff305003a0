"""What is asked of the evidence and of the patients of a study, on both databases."""

import pytest
from arriving import arrived

from covnode.errors import StaleClaim
from covnode.records.job import SeriesState
from covnode.store import arrivals, series, views

pytestmark = pytest.mark.xdist_group("dbos")


def test_two_patients_in_a_study_are_seen_held_back_and_released(transaction):
    with transaction() as session:
        first, second = arrivals.record(
            session, [arrived(name="a", patient_digest="p1"), arrived(name="b", patient_digest="p2")], "amend"
        )
        for series_id in (first, second):
            series.mark_complete(session, series_id, 1, "why", {"rule": "no_gap"}, instances=1)
        study_id = views.show_series(session, first)["study_id"]
        assert series.conflicting_studies(session, [study_id]) == {study_id: 2}
        assert set(series.quarantine_conflict(session, study_id, 2)) == {first, second}
    with transaction() as session:
        series.release_from_quarantine(session, first)
    with transaction() as session:
        assert series.quarantine_conflict(session, study_id, 2) == []
        assert views.show_series(session, first)["state"] == SeriesState.COMPLETE
        assert views.standing(session, 3600)["quarantined"] == 1


def test_series_closed_by_force_are_counted_and_those_without_evidence_are_not(transaction):
    with transaction() as session:
        forced, other, _waiting = arrivals.record(session, [arrived(name=name) for name in "abc"], "amend")
        series.mark_complete(session, forced, 1, "why", {"rule": "watchdog"})
        series.mark_complete(session, other, 1, "why")
    with transaction() as session:
        assert views.standing(session, -1.0) == {
            "receiving": 1,
            "complete": 2,
            "chosen": 0,
            "stuck": 3,
            "quarantined": 0,
            "closed_by_force": 1,
        }
        assert views.show_series(session, forced)["same_uid_other_content"] == 0


def test_a_slice_between_look_and_verdict_keeps_the_series_open(transaction):
    with transaction() as session:
        (series_id,) = arrivals.record(session, [arrived(1)], "amend")
        arrivals.record(session, [arrived(2)], "amend")

    def close_what_was_seen():
        with transaction() as session:
            series.mark_complete(session, series_id, 1, "why", instances=1)

    with pytest.raises(StaleClaim):
        close_what_was_seen()
    with transaction() as session:
        facts = series.facts_of(session, series_id)
    assert [known.instance_number for known in facts] == [1, 2]
