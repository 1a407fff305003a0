from datetime import timedelta

import pytest
import sqlalchemy as sa

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.arrival import SliceFacts
from covnode.records.job import SeriesState
from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, series, views
from covnode.store.tables import InstanceRow, SeriesRow, StudyRow

EVIDENCE = {"rule": "no_gap", "association": "released", "expected": None}


def add_study(session, study_id="stu-1"):
    now = utc_now()
    session.add(StudyRow(study_id=study_id, study_digest=study_id, received_at=now, last_instance_at=now))
    session.flush()


def add_series(session, series_id="ser-1", *, study_id=None, state=SeriesState.RECEIVING, age_s=0):
    moment = utc_now() - timedelta(seconds=age_s)
    row = SeriesRow(
        series_id=series_id,
        study_id=study_id,
        series_digest=series_id,
        state=state,
        revision=1,
        received_at=moment,
        last_instance_at=moment,
        state_at=moment,
        instance_count=1,
        source_ae_title="SCANNER",
    )
    session.add(row)
    session.flush()
    return series_id


def add_instance(session, series_id="ser-1", *, sop="1", content="a", **values):
    session.add(
        InstanceRow(
            series_id=series_id,
            sop_digest=sop,
            content_digest=content,
            file_name=f"{series_id}/{sop}{content}.dcm",
            size_bytes=1,
            sop_class_uid="1.2",
            transfer_syntax_uid="1.2.1",
            received_at=utc_now(),
            **values,
        )
    )


def states(session):
    return {row.series_id: row.state for row in session.query(SeriesRow).populate_existing()}


def test_the_verdict_and_its_evidence_are_stored_and_shown(transaction):
    evidence = {**EVIDENCE, "rule": "too_few", "expected": 64, "geometry": {"gaps": 1}}
    with transaction() as session:
        add_series(session)
        series.mark_complete(session, "ser-1", 1, "why", evidence)
    with transaction() as session:
        shown = views.show_series(session, "ser-1")
    assert (shown["state"], shown["completeness"], shown["evidence"]) == (SeriesState.COMPLETE, "why", evidence)
    assert shown["expected_instances"] == 64


@pytest.mark.parametrize(("revision", "instances"), [(0, 1), (1, 0)])
def test_a_series_is_not_completed_under_a_slice_that_came_meanwhile(transaction, revision, instances):
    with transaction() as session:
        add_series(session)

    def complete_what_was_seen():
        with transaction() as session:
            series.mark_complete(session, "ser-1", revision, "why", EVIDENCE, instances=instances)

    with pytest.raises(StaleClaim):
        complete_what_was_seen()
    with transaction() as session:
        assert states(session) == {"ser-1": SeriesState.RECEIVING}


def test_the_facts_are_those_of_distinct_instances_that_count(transaction):
    with transaction() as session:
        add_series(session)
        add_instance(session, sop="1", facts={"instance_number": 1, "position_lps_mm": [0.0, 1.0, 2.5]})
        add_instance(session, sop="1", content="b", facts={"instance_number": 99})
        add_instance(session, sop="2")
        add_instance(session, sop="3", facts={"instance_number": 3}, ignored=True)
    with transaction() as session:
        facts = series.facts_of(session, "ser-1")
        shown = views.show_series(session, "ser-1")
        counted = [row.sop_digest + row.content_digest for row in series.input_of(session, "ser-1")]
    assert counted == ["1a", "1b", "2a"]
    assert facts == [SliceFacts(instance_number=1, position_lps_mm=(0.0, 1.0, 2.5)), None]
    assert (shown["same_uid_other_content"], shown["late_and_ignored"]) == (1, 1)


def test_only_studies_that_name_several_patients_are_in_conflict(transaction):
    patients = {"stu-1": ["p1", "p2", None], "stu-2": ["p1", "p1", None], "stu-3": [None, None, None]}
    with transaction() as session:
        for study_id, digests in patients.items():
            add_study(session, study_id)
            for number, digest in enumerate(digests):
                series_id = add_series(session, f"{study_id}-{number}", study_id=study_id)
                add_instance(session, series_id, patient_digest=digest)
        add_instance(session, "stu-2-0", sop="2", patient_digest="p9", ignored=True)
    with transaction() as session:
        assert series.conflicting_studies(session, list(patients)) == {"stu-1": 2}
        assert series.conflicting_studies(session, ["stu-2", "stu-3"]) == {}
        assert series.conflicting_studies(session, []) == {}


@pytest.fixture
def conflict(transaction):
    """A study that names two patients, with a series in every state."""
    with transaction() as session:
        add_study(session)
        for state in SeriesState:
            add_series(session, f"ser-{state}", study_id="stu-1", state=state)
    return transaction


def test_a_conflict_holds_back_all_of_the_study_that_was_not_handed_over(conflict):
    with conflict() as session:
        held = series.quarantine_conflict(session, "stu-1", 2)
    assert set(held) == {"ser-complete", "ser-chosen", "ser-not_chosen"}
    with conflict() as session:
        found = states(session)
        reason = session.get_one(SeriesRow, "ser-chosen").reason
        code = session.get_one(SeriesRow, "ser-chosen").reason_code
    assert {name for name, state in found.items() if state == SeriesState.QUARANTINED} == {*held, "ser-quarantined"}
    assert found["ser-handed_over"] == SeriesState.HANDED_OVER
    assert (code, "2 different patients" in reason) == ("identity_conflict", True)


def test_what_a_person_released_from_a_conflict_is_not_held_back_again(conflict):
    with conflict() as session:
        series.quarantine_conflict(session, "stu-1", 2)
    with conflict() as session:
        series.release_from_quarantine(session, "ser-chosen")
    with conflict() as session:
        assert series.quarantine_conflict(session, "stu-1", 2) == []
        assert states(session)["ser-chosen"] == SeriesState.COMPLETE


def test_a_release_from_another_quarantine_accepts_no_conflict(conflict):
    with conflict() as session:
        series.quarantine(session, "ser-chosen", 1, "leak", "reason")
        series.release_from_quarantine(session, "ser-chosen")
    with conflict() as session:
        assert "ser-chosen" in series.quarantine_conflict(session, "stu-1", 2)


def test_a_quarantined_series_can_be_taken_in_again_but_once(transaction):
    with transaction() as session:
        add_series(session)
        series.mark_complete(session, "ser-1", 1, "why", EVIDENCE)
        series.quarantine(session, "ser-1", 1, "leak", "reason")
        series.release_from_quarantine(session, "ser-1")
        assert [row.series_id for row in series.in_state(session, SeriesState.COMPLETE, "here")] == ["ser-1"]
        assert session.get_one(SeriesRow, "ser-1").evidence == EVIDENCE

    def release_again():
        with transaction() as session:
            series.release_from_quarantine(session, "ser-1")

    with pytest.raises(StaleClaim):
        release_again()


def test_a_series_that_never_ends_and_one_closed_by_force_are_counted(transaction):
    with transaction() as session:
        add_series(session, "ser-new", age_s=10)
        add_series(session, "ser-stuck", age_s=5000)
        add_series(session, "ser-forced", age_s=4000)
        series.mark_complete(session, "ser-forced", 1, "why", {**EVIDENCE, "rule": "watchdog"})
        add_series(session, "ser-done", age_s=4000)
        series.mark_complete(session, "ser-done", 1, "why", EVIDENCE)
        add_series(session, "ser-old", state=SeriesState.COMPLETE)
        add_series(session, "ser-bad", state=SeriesState.QUARANTINED, age_s=5000)
    with transaction() as session:
        assert views.standing(session, 3600) == {
            "receiving": 2,
            "complete": 3,
            "chosen": 0,
            "stuck": 1,
            "quarantined": 1,
            "closed_by_force": 1,
        }


@pytest.mark.parametrize("state", [SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN])
def test_a_series_is_stuck_in_any_state_that_it_has_to_leave_by_itself(transaction, state):
    with transaction() as session:
        add_series(session, "ser-new", state=state, age_s=3500)
        add_series(session, "ser-stuck", state=state, age_s=3700)
        for other in set(SeriesState) - {SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN}:
            add_series(session, f"ser-{other}", state=other, age_s=3700)
    with transaction() as session:
        counts = views.standing(session, 3600)
    assert (counts[state], counts["stuck"]) == (2, 1)


def test_the_list_is_one_question_however_many_series_there_are_and_shows_the_newest_analysis(transaction):
    with transaction() as session:
        for number in range(5):
            add_series(session, f"ser-{number}", state=SeriesState.HANDED_OVER, age_s=number)
        analyses.open_analysis(session, DeidentifiedSeries("ser-1", 1, (), "0" * 64))
        analyses.open_analysis(session, DeidentifiedSeries("ser-1", 2, (), "0" * 64))
        series.quarantine(session, add_series(session, "ser-bad", state=SeriesState.COMPLETE, age_s=9), 1, "c", "why")
    questions = []
    with transaction() as session:
        sa.event.listen(session.get_bind(), "before_cursor_execute", lambda *known: questions.append(known[2]))
        listed = views.list_series(session)
    assert len(questions) == 1
    assert [row["series_id"] for row in listed] == [*(f"ser-{number}" for number in range(5)), "ser-bad"]
    assert [row["state"] for row in listed] == ["handed_over", "queued", *["handed_over"] * 3, "quarantined"]
    assert listed[-1] == {
        "series_id": "ser-bad",
        "state": "quarantined",
        "instances": 1,
        "revision": 1,
        "received_at": listed[-1]["received_at"],
        "from": "SCANNER",
        "reason": "why",
    }
