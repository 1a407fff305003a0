"""The certificate passes when everything was reached and nothing is lost, and says in words and figures why not."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from covnode.chaos.certificate import Certificate
from covnode.chaos.plan import Case, find
from covnode.chaos.proof import Fate, SeriesFate
from covnode.chaos.small_disk import DiskRun
from covnode.chaos.storm import CaseRun
from covnode.chaos.switches import Action, Firing

NOW = datetime(2026, 1, 5, tzinfo=UTC)
DELIVERED = SeriesFate(1, 12, 12, Fate.DELIVERED, "", objects=2, resent=1)
CASE = Case(find("work.claimed"), Action.KILL)
RUN = CaseRun("kill-1", CASE, (Firing(7, Action.KILL, 1.0),), 1, 9.0)
DISK = DiskRun(None, 3, (replace(DELIVERED, number=1),))
PASSED = Certificate("quick", "SQLite 3", NOW, NOW + timedelta(seconds=9), (RUN,), ((1,),), (DELIVERED,), (), DISK)


def test_a_good_run_passes_and_the_text_says_what_became_of_the_series():
    text, document = PASSED.as_text(), PASSED.as_json()
    assert PASSED.failures == []
    assert "covnode chaos --quick: passed" in text
    assert "work.claimed kill" in text
    assert "in flight: 1 delivered" in text
    assert document["verdict"] == "passed"
    assert document["cases"][0] == {
        "node": "kill-1",
        "case": "work.claimed kill",
        "point": "work.claimed",
        "role": "work",
        "action": "kill",
        "reached": 1,
        "took_s": 9.0,
        "series": 1,
        "in_flight": [1],
    }
    assert document["series"][0]["fate"] == "delivered"
    assert document["counts"]["lost"] == document["counts"]["duplicated"] == 0
    assert document["counts"]["resent_same_bytes"] == 2
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runs": (replace(RUN, firings=()),)}, "work.claimed kill: the point was not reached"),
        ({"runs": (replace(RUN, case=replace(CASE, times=3)),)}, "work.claimed kill x 3: the point was not reached"),
        ({"fates": (replace(DELIVERED, fate=Fate.LOST, reason="no SR"),)}, "series 1: lost: no SR"),
        ({"fates": (replace(DELIVERED, fate=Fate.DUPLICATED, reason="two"),)}, "series 1: duplicated: two"),
        ({"fates": (replace(DELIVERED, fate=Fate.UNANSWERED, reason="late"),)}, "series 1: not answered: late"),
        ({"stale_writes": ("ana-1: written",)}, "fence: ana-1: written"),
        ({"small_disk": replace(DISK, refusals=0)}, "small disk: the node took instances although its disk was full"),
        ({"small_disk": replace(DISK, fates=(replace(DELIVERED, fate=Fate.LOST, reason="x"),))}, "series 1: lost: x"),
    ],
)
def test_whatever_is_wrong_is_a_failure_in_text_and_json(change, said):
    certificate = replace(PASSED, **change)
    assert any(said in failure for failure in certificate.failures)
    assert f"FAILURE: {certificate.failures[0]}" in certificate.as_text()
    assert "FAILED" in certificate.as_text().splitlines()[0]
    assert certificate.as_json()["verdict"] == "failed"


def test_a_dead_letter_passes_with_its_reason_and_a_disk_that_was_not_filled_is_said():
    letter = replace(DELIVERED, fate=Fate.DEAD_LETTER, reason="failed: given up", objects=0)
    certificate = replace(PASSED, fates=(letter,), small_disk=DiskRun(not_run_because="only root may mount"))
    assert certificate.failures == []
    assert "dead letter, series 1: failed: given up" in certificate.as_text()
    assert "NOT RUN: only root may mount" in certificate.as_text()
    assert certificate.as_json()["small_disk"] == {"run": False, "why": "only root may mount"}
