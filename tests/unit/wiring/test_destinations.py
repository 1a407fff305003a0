from pathlib import Path

import pytest
from pydantic import ValidationError

from covnode.records.result import ObjectKind, ResultObject
from covnode.settings import DeliverSettings, PeerSettings
from covnode.store.results import StoredResult
from covnode.wiring.destinations import growing_delay_s
from covnode.wiring.sender import objects_for


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


def test_the_delay_doubles_to_its_limit_and_never_passes_it():
    for failures, most in [(1, 10), (2, 20), (4, 80), (5, 100), (500, 100)]:
        delays = {growing_delay_s(failures, first_s=10, longest_s=100) for _ in range(50)}
        assert len(delays) > 1
        assert 0.75 * most <= min(delays) <= max(delays) <= most


def test_the_longest_delay_may_be_a_day_and_no_more():
    assert DeliverSettings(longest_retry_s=86400).longest_retry_s == 86400
    with pytest.raises(ValidationError):
        DeliverSettings(longest_retry_s=86401)


def test_the_seg_leaves_before_the_sr_that_refers_to_it():
    written = stored(ObjectKind.SR_WITH_DEMONSTRATION, ObjectKind.SR, ObjectKind.SEG)
    assert list(objects_for(written, peer(accept=False), frozenset())) == ["seg", "sr"]
