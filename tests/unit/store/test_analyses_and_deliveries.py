import pytest
from arriving import arrived

from covnode.errors import StaleClaim
from covnode.records.job import AnalysisState, DeliveryState
from covnode.records.series import DeidentifiedSeries
from covnode.store import analyses, arrivals, deliveries
from covnode.store.tables import AnalysisRow, DeliveryRow, SeriesRow


@pytest.fixture
def analysis_id(transaction):
    with transaction() as session:
        (series_id,) = arrivals.record(session, [arrived()], "amend")
        return analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64)).subject_id


@pytest.fixture
def delivery_id(transaction, analysis_id):
    with transaction() as session:
        return deliveries.open_delivery(session, analysis_id, "pacs").subject_id


def state_of(transaction, row, key):
    with transaction() as session:
        return session.get_one(row, key).state


def test_whoever_lost_the_claim_writes_nothing(transaction, analysis_id):
    with transaction() as session:
        frozen = analyses.claim(session, analysis_id, 1, "a")
        current = analyses.claim(session, analysis_id, 1, "b")

    def finish_with(claim):
        with transaction() as session:
            analyses.mark_analysed(session, claim, [], {})

    with pytest.raises(StaleClaim):
        finish_with(frozen)
    assert state_of(transaction, AnalysisRow, analysis_id) == AnalysisState.RUNNING
    finish_with(current)
    assert state_of(transaction, AnalysisRow, analysis_id) == AnalysisState.ANALYSED


def test_the_date_of_the_objects_is_that_of_the_first_claim(transaction, analysis_id):
    with transaction() as session:
        first = analyses.claim(session, analysis_id, 1, "a")
    with transaction() as session:
        assert analyses.claim(session, analysis_id, 1, "a").first_claimed_at == first.first_claimed_at


def test_a_third_crash_ends_the_analysis_with_its_reason(transaction, analysis_id):
    for _ in range(analyses.MAX_ATTEMPTS):
        with transaction() as session:
            assert analyses.claim(session, analysis_id, 1, "a") is not None
    with transaction() as session:
        assert analyses.claim(session, analysis_id, 1, "a") is None
    with transaction() as session:
        row = session.get_one(AnalysisRow, analysis_id)
        assert (row.state, row.reason_code) == (AnalysisState.FAILED, "given_up")
    with transaction() as session:
        job = analyses.retry(session, analysis_id)
        assert job.enqueues == 2
        assert analyses.claim(session, analysis_id, 1, "a") is None  # a job of before the retry takes nothing
        assert analyses.claim(session, analysis_id, 2, "a").attempt == 1


def test_a_stop_on_request_counts_no_attempt_and_frees_no_old_fence(transaction, analysis_id):
    with transaction() as session:
        stopped = analyses.claim(session, analysis_id, 1, "a")
        analyses.uncount_attempt(session, stopped)
    with transaction() as session:
        current = analyses.claim(session, analysis_id, 1, "a")
    assert (current.attempt, current.fence) == (1, stopped.fence + 1)
    with transaction() as session:
        analyses.uncount_attempt(session, stopped)  # too late: the claim is another's
        assert session.get_one(AnalysisRow, analysis_id).attempts == 1


def test_the_last_reason_of_an_interruption_is_kept(transaction, analysis_id):
    for _ in range(analyses.MAX_ATTEMPTS):
        with transaction() as session:
            claim = analyses.claim(session, analysis_id, 1, "a")
            analyses.note_interruption(session, claim, "the analysis took longer than 60 s")
    with transaction() as session:
        assert analyses.claim(session, analysis_id, 1, "a") is None
        row = session.get_one(AnalysisRow, analysis_id, populate_existing=True)
        assert row.attempts == analyses.MAX_ATTEMPTS
        assert "longer than 60 s" in row.reason


def test_an_ended_analysis_cannot_be_claimed_or_retried(transaction, analysis_id):
    with transaction() as session:
        analyses.mark_analysed(session, analyses.claim(session, analysis_id, 1, "a"), [], {})
    with transaction() as session:
        assert analyses.claim(session, analysis_id, 1, "a") is None
        with pytest.raises(StaleClaim):
            analyses.retry(session, analysis_id)


def test_a_newer_revision_supersedes_what_the_older_one_has_not_ended(transaction, analysis_id, delivery_id):
    with transaction() as session:
        series_id = session.get_one(AnalysisRow, analysis_id).series_id
        analyses.open_analysis(session, DeidentifiedSeries(series_id, 2, (), "1" * 64))
    assert state_of(transaction, AnalysisRow, analysis_id) == AnalysisState.SUPERSEDED
    assert state_of(transaction, DeliveryRow, delivery_id) == DeliveryState.SUPERSEDED


def test_a_late_slice_alone_keeps_the_older_result_from_leaving(transaction, analysis_id, delivery_id):
    with transaction() as session:
        series_id = session.get_one(AnalysisRow, analysis_id).series_id
        session.get_one(SeriesRow, series_id).revision = 2
    with transaction() as session:
        assert analyses.claim(session, analysis_id, 1, "a") is None
        assert deliveries.claim(session, delivery_id, 1, "a") is None
    assert state_of(transaction, AnalysisRow, analysis_id) == AnalysisState.SUPERSEDED
    assert state_of(transaction, DeliveryRow, delivery_id) == DeliveryState.SUPERSEDED


def test_an_object_that_was_stored_is_known_to_the_next_attempt(transaction, delivery_id):
    with transaction() as session:
        claim = deliveries.claim(session, delivery_id, 1, "a")
        deliveries.record_object(session, claim, "seg", "2.25.1", 0)
        job = deliveries.retry_later(session, claim, 5.0, "the PACS is away")
    assert (job.enqueues, job.delay_s) == (2, 5.0)
    with transaction() as session:
        assert deliveries.claim(session, delivery_id, 1, "a") is None  # the job of the first attempt takes nothing
        assert deliveries.claim(session, delivery_id, 2, "a").delivered == {"seg"}


def test_a_blocked_delivery_is_parked_until_a_person_retries_it(transaction, delivery_id):
    with transaction() as session:
        deliveries.mark_ended(session, deliveries.claim(session, delivery_id, 1, "a"), DeliveryState.BLOCKED, "x", "y")
    with transaction() as session:
        assert deliveries.claim(session, delivery_id, 1, "a") is None
        deliveries.retry(session, delivery_id)
        assert deliveries.claim(session, delivery_id, 2, "a") is not None
