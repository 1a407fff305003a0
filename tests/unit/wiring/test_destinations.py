from pathlib import Path

import pytest

from covnode.records.result import ObjectKind, ResultObject
from covnode.settings import DeliverSettings, PeerSettings
from covnode.store.results import StoredResult
from covnode.wiring.sender import objects_for, retry_delay_s


def stored(*kinds):
    objects = tuple(
        ResultObject(kind=kind, path=Path(f"{kind}.dcm"), sop_class_uid="1.2", sop_instance_uid="2.25.1")
        for kind in kinds
    )
    return StoredResult.model_construct(objects=objects)


def peer(*, accept):
    return PeerSettings(ae_title="PACS", host="h", port=104, deliver=True, accept_demonstration=accept)


@pytest.mark.parametrize(
    ("accept", "written", "chosen"),
    [
        (False, ("seg", "sr", "sr_with_demonstration"), {"seg", "sr"}),
        (True, ("seg", "sr", "sr_with_demonstration"), {"seg", "sr_with_demonstration"}),
        (True, ("seg", "sr"), {"seg", "sr"}),
    ],
)
def test_demonstration_figures_go_only_where_they_are_accepted(accept, written, chosen):
    assert set(objects_for(stored(*map(ObjectKind, written)), peer(accept=accept), frozenset())) == chosen


def test_an_sr_that_the_destination_holds_stays_the_one():
    written = stored(ObjectKind.SEG, ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION)
    assert set(objects_for(written, peer(accept=True), frozenset({"sr"}))) == {"seg", "sr"}
    assert set(objects_for(written, peer(accept=False), frozenset({"sr_with_demonstration"}))) == {
        "seg",
        "sr_with_demonstration",
    }


def test_a_destination_accepts_no_demonstration_unless_it_says_so():
    assert PeerSettings(ae_title="PACS", host="h", port=104).accept_demonstration is False


def test_the_delay_grows_to_its_limit():
    settings = DeliverSettings(first_retry_s=10, longest_retry_s=100)
    for attempt, middle in [(1, 10), (2, 20), (4, 80), (5, 100), (500, 100)]:
        assert 0.8 * middle <= retry_delay_s(attempt, settings) <= 1.2 * middle
