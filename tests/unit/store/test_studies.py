from datetime import timedelta

import pytest
import sqlalchemy as sa

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import AnalysisState, DeliveryState, SeriesState
from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, deliveries, studies
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow, StudyRow

STUDY = "std-1"


@pytest.fixture
def add(transaction):
    """Return a function that adds a series to the study (None: to no study)."""
    first = utc_now()
    with transaction() as session:
        session.add(StudyRow(study_id=STUDY, study_digest="d", received_at=first, last_instance_at=first))

    def add(series_id, state=SeriesState.COMPLETE, *, study_id=STUDY, after_s=0, instances=3):
        at = first + timedelta(seconds=after_s)
        row = SeriesRow(
            series_id=series_id,
            study_id=study_id,
            series_digest=series_id,
            state=state,
            revision=1,
            received_at=at,
            last_instance_at=at,
            state_at=at,
            instance_count=instances,
            source_ae_title="CT",
        )
        with transaction() as session:
            session.add(row)

    return add


def row_of(transaction, kind, key):
    with transaction() as session:
        return session.get_one(kind, key)


def test_a_study_waits_while_it_has_a_complete_series(transaction, add):
    add("ser-empty", instances=0)
    add("ser-receiving", SeriesState.RECEIVING)
    with transaction() as session:
        assert studies.waiting(session, "here") == []
    add("ser-b", after_s=1)
    add("ser-a", after_s=2)
    with transaction() as session:
        assert studies.waiting(session, "here") == [STUDY]
        assert [row.series_id for row in studies.series_of(session, STUDY)] == ["ser-receiving", "ser-b", "ser-a"]


def test_a_series_of_no_study_is_no_study_that_waits(transaction, add):
    add("ser-old", study_id=None)
    with transaction() as session:
        assert studies.waiting(session, "here") == []


def test_each_new_choice_is_a_revision_and_the_same_again_is_none(transaction, add):
    add("ser-a")
    add("ser-b")
    for series_id, revision in (("ser-a", 1), ("ser-a", 1), ("ser-b", 2)):
        study = row_of(transaction, StudyRow, STUDY)
        with transaction() as session:
            assert studies.set_choice(session, study, series_id) == revision
    study = row_of(transaction, StudyRow, STUDY)
    assert (study.chosen_series_id, study.choice_revision) == ("ser-b", 2)


def test_two_choices_from_the_same_look_cannot_both_be_made(transaction, add):
    study = row_of(transaction, StudyRow, STUDY)
    with transaction() as session:
        studies.set_choice(session, study, "ser-a")
    with pytest.raises(StaleClaim), transaction() as session:
        studies.set_choice(session, study, "ser-b")


@pytest.mark.parametrize("state", [SeriesState.COMPLETE, SeriesState.CHOSEN])
def test_a_series_is_passed_over_with_its_reason(state, transaction, add):
    add("ser-a", state)
    with transaction() as session:
        studies.pass_over(session, "ser-a", 1, "not_chosen", "another is better")
    row = row_of(transaction, SeriesRow, "ser-a")
    assert (row.state, row.reason_code, row.reason) == (SeriesState.NOT_CHOSEN, "not_chosen", "another is better")


@pytest.mark.parametrize(
    ("state", "revision"),
    [(SeriesState.HANDED_OVER, 1), (SeriesState.RECEIVING, 1), (SeriesState.COMPLETE, 2)],
)
def test_a_series_that_went_on_meanwhile_is_not_passed_over(state, revision, transaction, add):
    add("ser-a", state)
    with pytest.raises(StaleClaim), transaction() as session:
        studies.pass_over(session, "ser-a", revision, "not_chosen", "x")
    assert row_of(transaction, SeriesRow, "ser-a").state == state


def test_a_sheet_is_kept_of_what_was_judged_and_leaves_a_persons_choice(transaction, add):
    add("ser-a")
    judged = row_of(transaction, SeriesRow, "ser-a")
    with transaction() as session:
        studies.keep_sheet(session, judged, {"total": 3, "by_hand": False})
    assert row_of(transaction, SeriesRow, "ser-a").score_sheet == {"total": 3, "by_hand": False}
    with transaction() as session:
        studies.choose_by_hand(session, "ser-a")
    with transaction() as session:
        studies.keep_sheet(session, judged, {"total": 4, "by_hand": False})
    assert row_of(transaction, SeriesRow, "ser-a").score_sheet == {"total": 4, "by_hand": True}


@pytest.mark.parametrize(
    "meanwhile", [{"revision": 2}, {"instance_count": 99}, {"state": SeriesState.RECEIVING}], ids=str
)
def test_no_sheet_is_kept_of_a_series_that_grew_or_may_still_grow(meanwhile, transaction, add):
    add("ser-a")
    judged = row_of(transaction, SeriesRow, "ser-a")
    with transaction() as session:
        session.execute(sa.update(SeriesRow).values(**meanwhile))
    with pytest.raises(StaleClaim), transaction() as session:
        studies.keep_sheet(session, judged, {"total": 3})
    assert row_of(transaction, SeriesRow, "ser-a").score_sheet is None


@pytest.mark.parametrize("state", [SeriesState.NOT_CHOSEN, SeriesState.COMPLETE])
def test_a_person_may_choose_what_was_passed_over_or_waits(state, transaction, add):
    add("ser-a", state)
    with transaction() as session:
        studies.choose_by_hand(session, "ser-a")
    row, study = row_of(transaction, SeriesRow, "ser-a"), row_of(transaction, StudyRow, STUDY)
    assert (row.state, row.score_sheet) == (SeriesState.CHOSEN, {"by_hand": True})
    assert (study.chosen_series_id, study.choice_revision) == ("ser-a", 1)


def test_a_person_may_choose_a_series_of_no_study(transaction, add):
    add("ser-old", SeriesState.NOT_CHOSEN, study_id=None)
    with transaction() as session:
        studies.choose_by_hand(session, "ser-old")
    assert row_of(transaction, SeriesRow, "ser-old").state == SeriesState.CHOSEN


@pytest.mark.parametrize("series_id", ["ser-a", "ser-none"])
def test_a_person_cannot_choose_what_is_on_its_way_or_is_not_there(series_id, transaction, add):
    add("ser-a", SeriesState.HANDED_OVER)
    with pytest.raises(StaleClaim), transaction() as session:
        studies.choose_by_hand(session, series_id)
    assert row_of(transaction, StudyRow, STUDY).choice_revision == 0


def test_what_a_beaten_series_has_not_ended_is_superseded_and_its_worker_writes_nothing(transaction, add):
    add("ser-a", SeriesState.HANDED_OVER)
    with transaction() as session:
        analysis_id = analyses.open_analysis(session, DeidentifiedSeries("ser-a", 1, (), "0" * 64)).subject_id
    with transaction() as session:
        held = analyses.claim(session, analysis_id, 1, "w")
    with transaction() as session:
        studies.supersede(session, "ser-a", "a better one came")
    with pytest.raises(StaleClaim), transaction() as session:
        analyses.mark_analysed(session, held, [], {}, "cpu")
    with transaction() as session:
        assert analyses.claim(session, analysis_id, 1, "w") is None
    row = row_of(transaction, AnalysisRow, analysis_id)
    assert (row.state, row.reason_code, row.reason) == (
        AnalysisState.SUPERSEDED,
        "better_series",
        "a better one came",
    )


def test_what_a_beaten_series_has_ended_stays_and_only_its_open_deliveries_are_superseded(transaction, add):
    add("ser-a", SeriesState.HANDED_OVER)
    add("ser-other", SeriesState.HANDED_OVER)
    ids = {}
    for series_id in ("ser-a", "ser-other"):
        with transaction() as session:
            analysis_id = analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64)).subject_id
            held = analyses.claim(session, analysis_id, 1, "w")
            analyses.mark_analysed(session, held, [], {}, "cpu")
            ids[series_id] = [
                deliveries.open_delivery(session, analysis_id, name).subject_id for name in ("pacs", "archive")
            ]
    with transaction() as session:
        claim = deliveries.claim(session, ids["ser-a"][0], 1, "s")
        deliveries.mark_ended(session, claim, DeliveryState.DELIVERED)
    with transaction() as session:
        studies.supersede(session, "ser-a", "a better one came")
    states = [row_of(transaction, DeliveryRow, key).state for key in (*ids["ser-a"], *ids["ser-other"])]
    assert states == [
        DeliveryState.DELIVERED,
        DeliveryState.SUPERSEDED,
        DeliveryState.QUEUED,
        DeliveryState.QUEUED,
    ]
    with transaction() as session:
        assert {row.state for row in session.query(AnalysisRow)} == {AnalysisState.ANALYSED}
