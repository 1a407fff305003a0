import pytest

from covnode.receive.assembly import ABORTED, RELEASED, AssociationLedger, IdleTimes, evidence_of_completeness

IDLE = IdleTimes(released_s=5, aborted_s=60)


@pytest.mark.parametrize(
    ("end", "quiet_s", "complete"),
    [(None, 1e6, False), (RELEASED, 4.9, False), (RELEASED, 5.0, True), (ABORTED, 59.0, False), (ABORTED, 60.0, True)],
)
def test_a_series_is_complete_only_after_its_association_ended_and_it_was_quiet(end, quiet_s, complete):
    assert (evidence_of_completeness(end, quiet_s, IDLE) is not None) == complete


def test_the_evidence_names_what_happened():
    assert evidence_of_completeness(ABORTED, 61, IDLE) == "association aborted, no slice for 60 s"


def test_a_series_is_open_while_any_association_feeds_it():
    ledger = AssociationLedger()
    ledger.feeds(1, "ser-a")
    ledger.feeds(2, "ser-a")
    ledger.ended(1, RELEASED)
    assert ledger.end_of("ser-a") is None
    ledger.ended(2, ABORTED)
    assert ledger.end_of("ser-a") == ABORTED


def test_the_first_word_on_the_end_of_an_association_stands():
    ledger = AssociationLedger()
    ledger.feeds(1, "ser-a")
    ledger.ended(1, RELEASED)
    ledger.ended(1, ABORTED)  # the closed connection that follows a release
    assert ledger.end_of("ser-a") == RELEASED


def test_what_an_earlier_process_received_counts_as_broken_off():
    assert AssociationLedger().end_of("ser-from-before-the-restart") == ABORTED
