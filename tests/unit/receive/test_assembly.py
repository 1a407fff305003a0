from dataclasses import replace

import pytest

from covnode.receive import assembly
from covnode.receive.assembly import ABORTED, RELEASED, AssociationLedger, least_wait_s, verdict
from covnode.receive.evidence import OPEN, Evidence, contents_of
from covnode.records.arrival import SliceFacts
from covnode.settings import CompletenessSettings

LIMITS = CompletenessSettings(idle_s=5, gap_idle_s=30, open_idle_s=20, aborted_idle_s=60, watchdog_s=3600)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stack(count, *, without=(), expected=None, spacing_mm=5.0):
    slices = [
        SliceFacts(
            instance_number=k + 1,
            position_lps_mm=(0.0, 0.0, k * spacing_mm),
            orientation_lps=AXIAL,
            expected_instances=expected,
        )
        for k in range(count)
        if k not in without
    ]
    return contents_of(slices)


def evidence(contents, *, association=RELEASED, quiet_s=0.0, age_s=100.0, expected_by="tag"):
    expected = contents.expected_by_tag
    return Evidence(association, quiet_s, age_s, contents, expected, expected_by if expected else None)


WHOLE, GAP = stack(64), stack(64, without={20})
COUNTED, SHORT = stack(64, expected=64), stack(60, expected=64)
UNKNOWN = contents_of([None, None])


@pytest.mark.parametrize(
    ("contents", "association", "wait_s", "rule"),
    [
        (COUNTED, RELEASED, 0, assembly.EXPECTED_COUNT),
        (COUNTED, OPEN, 5, assembly.EXPECTED_COUNT),
        (COUNTED, ABORTED, 5, assembly.EXPECTED_COUNT),
        (WHOLE, RELEASED, 5, assembly.NO_GAP),
        (WHOLE, OPEN, 20, assembly.STILL_OPEN),
        (WHOLE, ABORTED, 60, assembly.BROKEN_OFF),
        (GAP, RELEASED, 30, assembly.GAP),
        (GAP, OPEN, 30, assembly.STILL_OPEN),
        (GAP, ABORTED, 60, assembly.BROKEN_OFF),
        (SHORT, RELEASED, 30, assembly.TOO_FEW),
        (SHORT, OPEN, 30, assembly.STILL_OPEN),
        (SHORT, ABORTED, 60, assembly.BROKEN_OFF),
        (UNKNOWN, RELEASED, 30, assembly.GAP),
    ],
)
def test_a_series_is_complete_after_the_quiet_time_of_its_rule_and_not_before(contents, association, wait_s, rule):
    known = evidence(contents, association=association, quiet_s=wait_s)
    assert verdict(known, LIMITS).rule == rule
    if wait_s:
        assert verdict(replace(known, quiet_s=wait_s - 0.1), LIMITS) is None


@pytest.mark.parametrize(
    ("contents", "association", "quiet_s", "sentence"),
    [
        (COUNTED, RELEASED, 0, "association released, 64 of 64 expected instances"),
        (COUNTED, OPEN, 6, "association still open, 64 of 64 expected instances, no slice for 5 s"),
        (WHOLE, RELEASED, 5.2, "association released, 64 slices without a gap at 5 mm, no slice for 5 s"),
        (GAP, ABORTED, 61, "association aborted, 63 slices at 5 mm with 1 gap of 10 mm, no slice for 60 s"),
        (
            stack(64, without={20, 30, 31}),
            RELEASED,
            31,
            "association released, 61 slices at 5 mm with 2 gaps, the largest of 15 mm, no slice for 30 s",
        ),
        (SHORT, RELEASED, 31, "association released, 60 of 64 expected instances, no slice for 30 s"),
        (
            stack(64, without={20}, expected=64),
            RELEASED,
            31,
            "association released, 63 of 64 expected instances at 5 mm with 1 gap of 10 mm, no slice for 30 s",
        ),
        (
            UNKNOWN,
            RELEASED,
            31,
            "association released, 2 images, whose headers do not tell whether some are missing, no slice for 30 s",
        ),
        (
            contents_of([SliceFacts(instance_number=1), SliceFacts(instance_number=2)]),
            RELEASED,
            5,
            "association released, 2 images numbered without a gap, no slice for 5 s",
        ),
        (
            contents_of([SliceFacts(instance_number=1), SliceFacts(instance_number=4)]),
            RELEASED,
            30,
            "association released, 2 images, 2 of their numbers missing, no slice for 30 s",
        ),
        (
            contents_of([SliceFacts(frames=40)]),
            RELEASED,
            5,
            "association released, 1 multi-frame instance of 40 frames, no slice for 5 s",
        ),
        (
            contents_of([SliceFacts(instance_number=3)]),
            RELEASED,
            5,
            "association released, 1 image, no slice for 5 s",
        ),
    ],
)
def test_the_sentence_says_what_the_verdict_rests_on(contents, association, quiet_s, sentence):
    known = evidence(contents, association=association, quiet_s=quiet_s)
    assert verdict(known, LIMITS).sentence == sentence


def test_a_series_that_never_falls_quiet_is_closed_by_the_watchdog():
    restless = evidence(WHOLE, association=OPEN, quiet_s=1, age_s=3599)
    assert verdict(restless, LIMITS) is None
    forced = verdict(replace(restless, age_s=3600), LIMITS)
    assert forced.rule == assembly.WATCHDOG
    assert forced.sentence == (
        "association still open, 64 slices without a gap at 5 mm, closed by force 3600 s after its first slice"
    )


def test_the_watchdog_is_not_named_where_another_rule_holds():
    assert verdict(evidence(WHOLE, quiet_s=5, age_s=9999), LIMITS).rule == assembly.NO_GAP


def test_a_count_that_was_exceeded_counts_nothing():
    more = evidence(stack(64), quiet_s=0)
    more = replace(more, expected=60, expected_by="tag")
    assert verdict(more, LIMITS) is None
    assert verdict(replace(more, quiet_s=5), LIMITS).rule == assembly.NO_GAP


def scans(*counts, announced=60):
    """One stack, whose acquisitions came to so many images."""
    numbers = [number for number, count in enumerate(counts, start=1) for _ in range(count)]
    slices = [
        SliceFacts(
            acquisition_number=number,
            images_in_acquisition=announced,
            position_lps_mm=(0.0, 0.0, 5.0 * k),
            orientation_lps=AXIAL,
        )
        for k, number in enumerate(numbers)
    ]
    contents = contents_of(slices)
    return Evidence(RELEASED, 0.0, 100.0, contents, *contents.announced)


@pytest.mark.parametrize(
    ("known", "association", "wait_s", "rule", "came"),
    [
        (scans(60), RELEASED, 5, assembly.EXPECTED_COUNT, "60 of 60 images of the scan"),
        (scans(60), OPEN, 20, assembly.STILL_OPEN, "60 of 60 images of the scan"),
        (scans(60), ABORTED, 60, assembly.BROKEN_OFF, "60 of 60 images of the scan"),
        (scans(60, 1), RELEASED, 30, assembly.TOO_FEW, "61 of 120 images of the scan"),
        (scans(60, 60), RELEASED, 5, assembly.EXPECTED_COUNT, "120 of 120 images of the scan"),
        (scans(61), RELEASED, 5, assembly.NO_GAP, "61 slices without a gap at 5 mm"),
    ],
)
def test_the_count_of_one_acquisition_is_not_the_end_of_a_series(known, association, wait_s, rule, came):
    known = replace(known, association=association)
    assert verdict(replace(known, quiet_s=wait_s - 0.1), LIMITS) is None
    found = verdict(replace(known, quiet_s=wait_s), LIMITS)
    assert found.rule == rule
    assert f", {came}, no slice for {wait_s} s" in found.sentence


@pytest.mark.parametrize("association", [RELEASED, OPEN, ABORTED])
@pytest.mark.parametrize("contents", [COUNTED, WHOLE, GAP, SHORT, UNKNOWN])
def test_no_rule_holds_before_the_least_wait(contents, association):
    least_s = least_wait_s(association, LIMITS)
    assert verdict(evidence(contents, association=association, quiet_s=least_s - 0.1), LIMITS) is None


def test_a_series_is_open_while_any_association_feeds_it():
    ledger = AssociationLedger()
    ledger.feeds("1", "ser-a")
    ledger.feeds("2", "ser-a")
    ledger.ended("1", RELEASED)
    assert ledger.end_of("ser-a") is None
    ledger.ended("2", ABORTED)
    assert ledger.end_of("ser-a") == ABORTED


def test_of_associations_side_by_side_the_one_that_broke_off_counts():
    ledger = AssociationLedger()
    ledger.feeds("1", "ser-a")
    ledger.feeds("2", "ser-a")
    ledger.ended("1", ABORTED)
    ledger.ended("2", RELEASED)
    assert ledger.end_of("ser-a") == ABORTED


def test_a_sender_that_comes_back_and_releases_makes_up_for_the_break():
    ledger = AssociationLedger()
    ledger.feeds("1", "ser-a")
    ledger.ended("1", ABORTED)
    ledger.feeds("2", "ser-a")
    ledger.ended("2", RELEASED)
    assert ledger.end_of("ser-a") == RELEASED


def test_the_first_word_on_the_end_of_an_association_stands():
    ledger = AssociationLedger()
    ledger.feeds("1", "ser-a")
    ledger.ended("1", RELEASED)
    ledger.ended("1", ABORTED)  # the closed connection that follows a release
    assert ledger.end_of("ser-a") == RELEASED


def test_what_an_earlier_process_received_counts_as_broken_off():
    assert AssociationLedger().end_of("ser-from-before-the-restart") == ABORTED


def test_the_ledger_does_not_grow_with_series_that_nobody_asks_for(monkeypatch):
    monkeypatch.setattr(assembly, "_MOST_ENDS", 3)
    ledger = AssociationLedger()
    for number in range(5):
        ledger.feeds("1", f"ser-{number}")
        ledger.ended("1", RELEASED)
    assert [ledger.end_of(f"ser-{number}") for number in (0, 1, 4)] == [ABORTED, ABORTED, RELEASED]
