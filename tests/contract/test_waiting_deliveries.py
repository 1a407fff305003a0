"""What keeps a delivery from being sent, on both databases: its study's order, an away destination, a lost claim."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from queued_deliveries import queue_deliveries

from covnode.clock import utc_now
from covnode.errors import StaleClaim
from covnode.records.job import DeliveryState
from covnode.store import deliveries, destinations, requeue, waiting
from covnode.store.tables import DeliveredObjectRow, DeliveryRow, DestinationRow

pytestmark = pytest.mark.xdist_group("dbos")

AWAY_AFTER = 3


def claim(transaction, delivery_id, enqueues=1):
    with transaction() as session:
        return deliveries.claim(session, delivery_id, enqueues, "host:sender-0")


def end(transaction, held, state=DeliveryState.DELIVERED):
    with transaction() as session:
        deliveries.mark_ended(session, held, state, None, None)


def released(transaction):
    with transaction() as session:
        return [(job.subject_id, job.enqueues) for job in waiting.release(session, 100)]


def row_of(transaction, delivery_id):
    with transaction() as session:
        return session.get_one(DeliveryRow, delivery_id)


def fail(transaction, times=1, destination="pacs"):
    """Return whether the destination went away by these failures."""
    news = []
    for _ in range(times):
        with transaction() as session:
            news.append(destinations.note_failure(session, destination, "nobody there", AWAY_AFTER, lambda _n: 60.0))
    return any(news)


def is_away(transaction, destination="pacs"):
    with transaction() as session:
        return destinations.is_away(session, destination)


def let_the_pause_pass(transaction):
    with transaction() as session:
        session.execute(sa.update(DestinationRow).values(next_probe_at=utc_now() - timedelta(seconds=1)))


def test_a_delivery_waits_for_an_earlier_one_of_its_study_and_costs_no_attempt(transaction):
    first, second, third = queue_deliveries(transaction, ("a", "study"), ("b", "study"), ("c", "study"))
    assert claim(transaction, second) is None
    assert claim(transaction, third) is None
    assert released(transaction) == []
    held = claim(transaction, first)
    assert released(transaction) == []
    end(transaction, held)
    assert released(transaction) == [(second, 2)]
    assert released(transaction) == []
    assert claim(transaction, second) is None  # the job of before it waited is void
    assert claim(transaction, second, 2).attempt == 1
    assert row_of(transaction, third).attempts == 0


def test_other_studies_and_other_destinations_do_not_wait(transaction):
    queue_deliveries(transaction, ("a", "study"))
    (other_study,) = queue_deliveries(transaction, ("b", "other"))
    (other_destination,) = queue_deliveries(transaction, ("c", "study"), destination="archive")
    assert claim(transaction, other_study) is not None
    assert claim(transaction, other_destination) is not None


@pytest.mark.parametrize("state", [DeliveryState.BLOCKED, DeliveryState.FAILED, DeliveryState.SUPERSEDED])
def test_a_delivery_that_has_ended_holds_up_nobody(transaction, state):
    first, second = queue_deliveries(transaction, ("a", "study"), ("b", "study"))
    assert claim(transaction, second) is None
    with transaction() as session:  # as the sender, a newer revision or a person ends it
        session.get_one(DeliveryRow, first).state = state
    assert released(transaction) == [(second, 2)]


def test_one_that_is_to_be_tried_again_still_comes_first(transaction):
    first, second = queue_deliveries(transaction, ("a", "study"), ("b", "study"))
    with transaction() as session:
        deliveries.retry_later(session, deliveries.claim(session, first, 1, "a"), 60.0, "A700")
    assert claim(transaction, second) is None
    assert released(transaction) == []


def test_one_that_cannot_be_stored_for_long_lets_others_pass_until_the_destination_is_away(transaction):
    first, second, third = queue_deliveries(transaction, ("a", "study"), ("b", "study"), ("c", "study"))
    assert claim(transaction, second) is None
    assert first in row_of(transaction, second).reason
    with transaction() as session:
        held = deliveries.claim(session, first, 1, "a")
        deliveries.retry_later(session, held, 60.0, "A700", lets_pass=True)
    assert released(transaction) == [(second, 2)]
    end(transaction, claim(transaction, second, 2))
    with transaction() as session:
        deliveries.wait_for_destination(session, deliveries.claim(session, first, 2, "a"), "nobody there")
    assert claim(transaction, third) is None


def test_a_destination_is_away_after_failures_in_a_row(transaction):
    assert not fail(transaction, AWAY_AFTER - 1)
    with transaction() as session:
        assert not destinations.note_reached(session, "pacs")
    assert not fail(transaction, AWAY_AFTER - 1)
    assert fail(transaction)
    assert is_away(transaction)
    assert not is_away(transaction, "archive")


def test_while_it_is_away_nothing_is_tried_and_nothing_counted_and_all_goes_when_it_is_back(transaction):
    ids = queue_deliveries(transaction, ("a", "one"), ("b", "two"), ("c", "three"))
    sent = claim(transaction, ids[0])
    fail(transaction, AWAY_AFTER)
    with transaction() as session:
        deliveries.wait_for_destination(session, sent, "nobody there")
    for waits in ids[1:]:
        assert claim(transaction, waits) is None
    assert [row_of(transaction, each).attempts for each in ids] == [1, 0, 0]
    assert released(transaction) == []
    with transaction() as session:
        assert not {job.subject_id for job in requeue.open_jobs(session)} & set(ids)
        standing = destinations.standing(session, "pacs")
    assert (standing["waiting"], standing["last_error"]) == (3, "nobody there")
    with transaction() as session:
        assert destinations.note_reached(session, "pacs")
    assert released(transaction) == [(each, 2) for each in ids]
    assert claim(transaction, ids[0], 2).attempt == 2


def test_one_sender_alone_probes_and_a_probe_without_answer_prolongs(transaction):
    fail(transaction, AWAY_AFTER)
    with transaction() as session:
        assert destinations.probes_due(session) == []
        with pytest.raises(StaleClaim):
            destinations.take_probe(session, "pacs", 60.0)
    let_the_pause_pass(transaction)
    with transaction() as session:
        assert destinations.probes_due(session) == ["pacs"]
        destinations.take_probe(session, "pacs", 60.0)
    with transaction() as session:
        assert destinations.probes_due(session) == []
        with pytest.raises(StaleClaim):
            destinations.take_probe(session, "pacs", 60.0)
    asked = []
    with transaction() as session:
        destinations.prolong(session, "pacs", "still nobody", lambda failures: asked.append(failures) or 600.0)
        row = session.get_one(DestinationRow, "pacs")
    assert asked == [AWAY_AFTER + 1]
    assert row.next_probe_at > utc_now() + timedelta(seconds=500)
    assert is_away(transaction)


def test_a_failure_that_began_before_it_was_away_prolongs_nothing(transaction):
    fail(transaction, AWAY_AFTER)
    assert not fail(transaction)
    with transaction() as session:
        assert session.get_one(DestinationRow, "pacs").failures == AWAY_AFTER


def test_a_delivery_that_waits_too_long_is_parked_and_a_person_can_queue_it_again(transaction):
    (waits,) = queue_deliveries(transaction, ("a", "study"))
    fail(transaction, AWAY_AFTER)
    claim(transaction, waits)
    with transaction() as session:
        assert waiting.give_up_waiting(session, 60.0) == []
        assert waiting.give_up_waiting(session, -1.0) == [waits]
        assert deliveries.parked(session, "pacs") == [waits]
        assert deliveries.parked(session, "archive") == []
    row = row_of(transaction, waits)
    assert (row.state, row.reason_code, row.waits_for) == (DeliveryState.FAILED, waiting.GAVE_UP, None)
    assert "pacs" in row.reason
    with transaction() as session:
        job = deliveries.retry(session, waits)
        destinations.note_reached(session, "pacs")
    assert claim(transaction, waits, job.enqueues).attempt == 1


def test_what_was_postponed_can_be_hurried_and_the_later_job_is_void(transaction):
    (postponed,) = queue_deliveries(transaction, ("a", "study"))
    with transaction() as session:
        later = deliveries.retry_later(session, deliveries.claim(session, postponed, 1, "a"), 3600.0, "A700")
    with transaction() as session:
        waiting.hurry(session, "archive")
    assert released(transaction) == []
    with transaction() as session:
        waiting.hurry(session, "pacs")
    assert released(transaction) == [(postponed, later.enqueues + 1)]
    assert claim(transaction, postponed, later.enqueues) is None
    assert claim(transaction, postponed, later.enqueues + 1) is not None


def test_a_sender_that_was_taken_over_records_nothing(transaction):
    (taken_over,) = queue_deliveries(transaction, ("a", "study"))
    frozen = claim(transaction, taken_over)
    current = claim(transaction, taken_over)
    for act in (
        lambda session: deliveries.record_object(session, frozen, "seg", "2.25.1", 0),
        lambda session: deliveries.retry_later(session, frozen, 1.0, "x"),
        lambda session: deliveries.wait_for_destination(session, frozen, "x"),
        lambda session: deliveries.mark_ended(session, frozen, DeliveryState.DELIVERED),
    ):
        with pytest.raises(StaleClaim), transaction() as session:
            act(session)
    with transaction() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(DeliveredObjectRow)) == 0
        assert deliveries.record_object(session, current, "seg", "2.25.1", 0xB000)
    with transaction() as session:
        assert session.scalars(sa.select(DeliveredObjectRow.status)).all() == [0xB000]


def test_an_object_that_arrived_while_its_delivery_was_superseded_is_recorded_and_the_rest_does_not_go(transaction):
    (superseded,) = queue_deliveries(transaction, ("a", "study"))
    held = claim(transaction, superseded)
    with transaction() as session:
        session.get_one(DeliveryRow, superseded).state = DeliveryState.SUPERSEDED
    with transaction() as session:
        assert not deliveries.record_object(session, held, "seg", "2.25.1", 0)
    with transaction() as session:
        assert session.scalars(sa.select(DeliveredObjectRow.kind)).all() == ["seg"]
