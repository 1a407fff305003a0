"""What the certificate says of a series, from nothing but what came to the PACS and the dead letter."""

import dataclasses
from pathlib import Path

import pytest

from covnode.chaos.pacs import StoredObject
from covnode.chaos.proof import GOOD, Fate, judge
from covnode.chaos.pushes import PushedSeries

IMAGES = ("1.1", "1.2", "1.3")
LETTER = "not_analysed: too few slices"


def series(answered=IMAGES):
    return PushedSeries(1, "1", dict.fromkeys(IMAGES, Path("x.dcm")), answered=set(answered))


def stored(modality, uid, made_of=IMAGES, sha256="a"):
    return StoredObject("1", uid, modality, sha256, frozenset(made_of), at_s=0.0)


SEG, SR = stored("SEG", "2.1"), stored("SR", "2.2")
EARLIER = (stored("SEG", "2.3", IMAGES[:2]), stored("SR", "2.4", IMAGES[:2]))


@pytest.mark.parametrize(
    ("objects", "letter", "fate"),
    [
        ((SEG, SR), None, Fate.DELIVERED),
        ((*EARLIER, SEG, SR), None, Fate.DELIVERED),
        ((SEG, SR, SEG), None, Fate.DELIVERED),
        ((), LETTER, Fate.DEAD_LETTER),
        (EARLIER, LETTER, Fate.DEAD_LETTER),
        ((), None, Fate.LOST),
        ((SEG,), None, Fate.LOST),
        ((SR,), None, Fate.LOST),
        (EARLIER, None, Fate.LOST),
        ((SEG, SR, stored("SEG", "2.9")), None, Fate.DUPLICATED),
        ((*EARLIER, stored("SR", "2.9", IMAGES[:2]), SEG, SR), None, Fate.DUPLICATED),
        ((SEG, SR, dataclasses.replace(SR, sha256="b")), None, Fate.DUPLICATED),
        ((SEG, SR, stored("SEG", "2.9", ("9.9",))), None, Fate.CONTRADICTED),
        ((SEG, SR), LETTER, Fate.CONTRADICTED),
    ],
)
def test_the_fate_follows_from_what_is_at_the_pacs(objects, letter, fate):
    found = judge(series(), objects, letter)
    assert found.fate is fate
    assert bool(found.reason) is (fate is not Fate.DELIVERED)


def test_a_resend_of_the_same_bytes_is_counted_apart():
    found = judge(series(), (SEG, SEG, SR, SEG), None)
    assert (found.objects, found.resent) == (2, 2)


def test_a_storage_commitment_that_was_asked_for_and_not_reported_is_a_failure():
    assert judge(series(), (SEG, SR), None, has_committed=False).fate is Fate.UNCOMMITTED
    assert judge(series(), (), None, has_committed=False).fate is Fate.LOST
    assert Fate.UNCOMMITTED not in GOOD


def test_what_was_not_answered_for_is_no_success():
    found = judge(series(IMAGES[:2]), (), None)
    assert found.fate is Fate.UNANSWERED
    assert (found.answered, found.instances) == (2, 3)
