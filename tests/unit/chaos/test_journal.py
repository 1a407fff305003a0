"""A write under a claim is stale when a newer claim was there before it began, and at no other time."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from covnode.chaos.journal import Entry, Journal
from covnode.errors import StaleClaim
from covnode.records.job import AnalysisClaim, DeliveryClaim

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ANALYSIS = AnalysisClaim("ana-1", "ser-1", 1, "0", attempt=1, fence=1, first_claimed_at=NOW)
DELIVERY = DeliveryClaim("del-1", "ana-1", "ser-1", 1, "pacs", 1, 1, NOW, frozenset())


def entry(fence, started_s, ended_s, *, is_claim=False, subject_id="ana-1"):
    return Entry(subject_id, fence, is_claim, started_s, ended_s)


FIRST, SECOND = entry(1, 0.0, 1.0, is_claim=True), entry(2, 2.0, 3.0, is_claim=True)


@pytest.mark.parametrize(
    ("entries", "stale"),
    [
        ((FIRST, SECOND, entry(2, 4.0, 5.0)), 0),
        ((FIRST, entry(1, 1.5, 1.8), SECOND), 0),
        ((FIRST, SECOND, entry(1, 2.5, 5.0)), 0),  # began before the newer claim was there: who was first is not known
        ((FIRST, SECOND, entry(1, 4.0, 5.0)), 1),
        ((FIRST, SECOND, entry(1, 4.0, 5.0, subject_id="ana-2")), 0),
    ],
)
def test_stale_writes_are_found(entries, stale, tmp_path):
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(asdict(each)) + "\n" for each in entries))
    assert len(Journal(tmp_path).stale_writes()) == stale


def test_an_empty_journal_has_none(tmp_path):
    assert Journal(tmp_path).stale_writes() == []


@pytest.mark.parametrize("claim", [ANALYSIS, DELIVERY])
def test_what_takes_effect_is_told_and_what_is_refused_is_not(claim, tmp_path):
    journal = Journal(tmp_path)

    def refused(_records, _claim):
        raise StaleClaim("taken over")

    assert journal.claiming(lambda: claim)() is claim
    assert journal.claiming(lambda: None)() is None
    assert journal.writing(lambda _records, _claim: 5)(None, claim) == 5
    with pytest.raises(StaleClaim):
        journal.writing(refused)(None, claim)
    told = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [(line["fence"], line["is_claim"]) for line in told] == [(1, True), (1, False)]
