"""Deliveries that a sender died of, on both databases: counted in a row, sent one at a time, given up in the end."""

import pytest
from queued_deliveries import queue_deliveries

from covnode.pipeline.delivery import DeliveryJob
from covnode.records.job import MAX_CRASHES, DeliveryState
from covnode.records.result import ObjectKind
from covnode.store import deliveries, queues, waiting
from covnode.store.tables import DeliveryRow

pytestmark = pytest.mark.xdist_group("dbos")


def claim(transaction, delivery_id, enqueues=1):
    with transaction() as session:
        return deliveries.claim(session, delivery_id, enqueues, "host:sender-0")


def row_of(transaction, delivery_id):
    with transaction() as session:
        return session.get_one(DeliveryRow, delivery_id)


def released(transaction):
    with transaction() as session:
        return [(job.subject_id, job.enqueues) for job in waiting.release(session, 100)]


def test_each_claim_of_what_is_being_sent_follows_a_crash_and_an_attempt_that_was_outlived_ends_the_row(transaction):
    (delivery_id,) = queue_deliveries(transaction, ("a", "study"))
    assert [claim(transaction, delivery_id).crashes for _ in range(3)] == [0, 1, 2]
    with transaction() as session:
        held = deliveries.claim(session, delivery_id, 1, "host:sender-0")
        assert held.crashes == MAX_CRASHES
        deliveries.retry_later(session, held, 0.0, "A700")
    assert claim(transaction, delivery_id, 2).crashes == 0
    with transaction() as session:
        deliveries.wait_for_destination(session, deliveries.claim(session, delivery_id, 2, "a"), "nobody there")
    assert row_of(transaction, delivery_id).crashes == 0


def test_what_a_sender_gave_up_while_the_database_was_away_is_no_crash(transaction):
    (delivery_id,) = queue_deliveries(transaction, ("a", "study"))
    held = claim(transaction, delivery_id)
    with transaction() as session:
        again = deliveries.claim(session, delivery_id, 1, "host:sender-0", held.fence)
        assert again.crashes == 0
        assert deliveries.claim(session, delivery_id, 1, "host:sender-1", held.fence).crashes == 1  # not of this claim


def test_a_stop_on_request_is_no_crash_but_one_before_a_pause_is(transaction):
    (delivery_id,) = queue_deliveries(transaction, ("a", "study"))
    claim(transaction, delivery_id)
    with transaction() as session:
        deliveries.put_back(session, "another:sender-0")
    assert row_of(transaction, delivery_id).state == DeliveryState.SENDING
    with transaction() as session:
        deliveries.put_back(session, "host:sender-0")
    assert claim(transaction, delivery_id).crashes == 0
    with transaction() as session:
        queues.pause(session, "delivery.pacs", None)
    assert claim(transaction, delivery_id) is None
    assert (row_of(transaction, delivery_id).state, row_of(transaction, delivery_id).crashes) == ("queued", 1)


def test_what_a_sender_died_beside_is_sent_alone_and_what_nobody_died_of_goes_meanwhile(transaction):
    poison, beside, other = queue_deliveries(transaction, ("a", "one"), ("b", "two"), ("c", "three"))
    claim(transaction, poison)
    claim(transaction, beside)
    assert claim(transaction, poison).crashes == 1  # the sender died and is there again
    assert claim(transaction, beside) is None
    waits = row_of(transaction, beside)
    assert (waits.state, waits.waits_for, waits.crashes) == (DeliveryState.QUEUED, "suspect", 1)
    assert released(transaction) == []
    assert claim(transaction, other).crashes == 0
    given_up = [claim(transaction, poison) for _ in range(2)][-1]
    assert given_up.crashes == MAX_CRASHES
    with transaction() as session:
        deliveries.mark_ended(session, given_up, DeliveryState.FAILED, "given_up", "why")
    assert released(transaction) == [(beside, 2)]
    assert claim(transaction, beside, 2).crashes == 1


class Records:
    """Those of the store that the end of a delivery needs."""

    def __init__(self, transaction):
        self._transaction = transaction

    def claim(self, delivery_id, enqueues):
        return claim(self._transaction, delivery_id, enqueues)

    def end(self, held, state, code, reason):
        with self._transaction() as session:
            deliveries.mark_ended(session, held, state, code, reason)


class NothingSent:
    """The destination holds none of the objects."""

    def unsent(self, claim):
        return {ObjectKind.SR}


def test_what_so_many_senders_died_of_is_a_dead_letter_once_and_begins_anew_by_hand(transaction):
    (delivery_id,) = queue_deliveries(transaction, ("a", "study"))
    for _ in range(MAX_CRASHES):
        claim(transaction, delivery_id)
    for _ in range(2):
        DeliveryJob(Records(transaction), NothingSent()).run(delivery_id, 1)
    row = row_of(transaction, delivery_id)
    assert (row.state, row.reason_code) == (DeliveryState.FAILED, "given_up")
    assert "3 times in a row the sender died" in row.reason
    with transaction() as session:
        assert deliveries.parked(session, "pacs") == [delivery_id]
        job = deliveries.retry(session, delivery_id)
    assert claim(transaction, delivery_id, job.enqueues).crashes == 0
