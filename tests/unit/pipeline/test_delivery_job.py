from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from covnode.errors import DeliveryRefused, StaleClaim, TransientError
from covnode.pipeline.delivery import DeliveryJob
from covnode.records.job import DeliveryClaim, DeliveryState
from covnode.records.result import ObjectKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OBJECTS = {ObjectKind.SEG: Path("seg.dcm"), ObjectKind.SR: Path("sr.dcm")}


@dataclass
class Records:
    delivered: frozenset = frozenset()
    gives_up: bool = False
    crashes: int = 0
    stored_objects: list = field(default_factory=list)
    ended: list = field(default_factory=list)
    postponed: list = field(default_factory=list)

    def claim(self, delivery_id, enqueues):
        return DeliveryClaim(delivery_id, "ana-1", "ser-1", 1, "pacs", 1, 1, NOW, self.delivered, self.crashes)

    def stored(self, claim, kind, status):
        self.stored_objects.append((kind, status))

    def end(self, claim, state, code, reason):
        self.ended.append((state, code, reason))

    def retry_later(self, claim, error):
        self.postponed.append(str(error))
        return not self.gives_up


@dataclass
class Steps:
    """Steps that fail at a given one."""

    failing: str = ""
    error: Exception | None = None
    sent: list = field(default_factory=list)

    def _fail(self, step):
        if step == self.failing:
            raise self.error

    def unsent(self, claim):
        return OBJECTS.keys() - claim.delivered

    def restore(self, claim):
        self._fail("restore")
        return OBJECTS

    def check(self, claim, objects):
        self._fail("check")

    def send(self, claim, objects, on_stored):
        for kind in objects:
            self._fail(f"send {kind}")
            self.sent.append(kind)
            on_stored(kind, 0)


def run(steps, records=None):
    records = records or Records()
    DeliveryJob(records, steps).run("del-1", 1)
    return records


def test_all_objects_are_sent_and_recorded_one_by_one():
    records = run(steps := Steps())
    assert steps.sent == [ObjectKind.SEG, ObjectKind.SR]
    assert records.stored_objects == [(ObjectKind.SEG, 0), (ObjectKind.SR, 0)]
    assert records.ended == [(DeliveryState.DELIVERED, None, None)]


def test_what_the_destination_holds_is_not_sent_again():
    run(steps := Steps(), Records(delivered=frozenset({ObjectKind.SEG})))
    assert steps.sent == [ObjectKind.SR]


def test_a_failure_for_the_moment_keeps_what_was_sent_and_is_tried_again():
    records = run(Steps("send sr", TransientError("pacs is out of resources (A700)")))
    assert records.stored_objects == [(ObjectKind.SEG, 0)]
    assert records.postponed == ["pacs is out of resources (A700)"]
    assert records.ended == []


@pytest.mark.parametrize(("gives_up", "event"), [(False, "delivery_postponed"), (True, "delivery_failed")])
def test_giving_up_is_an_error_in_the_log_and_to_be_tried_again_a_warning(gives_up, event, capsys):
    run(Steps("send sr", TransientError("A700")), Records(gives_up=gives_up))
    logged = capsys.readouterr().out
    assert event in logged
    assert ("error" in logged.split(event)[0]) is gives_up


def test_what_three_senders_died_of_is_given_up():
    records = run(steps := Steps(), Records(crashes=3))
    assert steps.sent == []
    ((state, code, reason),) = records.ended
    assert (state, code) == (DeliveryState.FAILED, "given_up")
    assert "3 times" in reason


def test_what_the_destination_holds_in_full_is_delivered_whoever_died_since():
    records = run(steps := Steps(), Records(crashes=3, delivered=frozenset(OBJECTS)))
    assert steps.sent == []
    assert records.ended == [(DeliveryState.DELIVERED, None, None)]


def test_nothing_leaves_that_the_interlock_refuses():
    records = run(steps := Steps("check", DeliveryRefused("the mask is mirrored", "side")))
    assert steps.sent == []
    assert records.ended == [(DeliveryState.BLOCKED, "side", "the mask is mirrored")]


@pytest.mark.parametrize("step", ["restore", "check", "send seg"])
def test_an_unforeseen_error_parks_the_delivery_without_its_text(step):
    records = run(Steps(step, ValueError("Doe^Jane")))
    assert records.ended == [(DeliveryState.FAILED, "ValueError", "an unforeseen error")]


def test_whoever_was_taken_over_writes_nothing():
    records = run(Steps("send seg", StaleClaim("another process")))
    assert records.ended == records.postponed == []
