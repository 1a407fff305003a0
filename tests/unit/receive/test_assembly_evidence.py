import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from covnode.receive.evidence import RELEASED, Evidence, contents_of
from covnode.receive.slice_stack import geometry_of
from covnode.records.arrival import SliceFacts

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def unit(vector):
    length = math.sqrt(sum(part * part for part in vector))
    return tuple(part / length for part in vector)


def cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def stack(distances_mm, *, orientation=AXIAL, acquisition=None, first_number=1):
    normal = cross(orientation[:3], orientation[3:])
    return [
        SliceFacts(
            instance_number=number,
            acquisition_number=acquisition,
            position_lps_mm=tuple(-7.25 + distance_mm * part for part in normal),
            orientation_lps=orientation,
        )
        for number, distance_mm in enumerate(distances_mm, start=first_number)
    ]


@st.composite
def orientations(draw):
    """Return six cosines of any plane: a row, and a column at a right angle to it."""
    parts = st.floats(-1, 1).map(lambda value: round(value, 3))
    row = unit(draw(st.tuples(parts, parts, parts).filter(lambda v: sum(map(abs, v)) > 0.1)))
    other = draw(st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]))
    normal = cross(row, other)
    if sum(map(abs, normal)) < 0.3:
        normal = cross(row, (other[1], other[2], other[0]))
    return (*row, *unit(cross(unit(normal), row)))


SPACINGS_MM = st.floats(0.3, 20).map(lambda value: round(value, 4))


@given(
    count=st.integers(3, 60),
    spacing_mm=SPACINGS_MM,
    orientation=orientations(),
    decimals=st.integers(3, 8),
    data=st.data(),
)
def test_a_uniform_stack_has_no_gap_in_any_orientation_and_order_of_arrival(
    count, spacing_mm, orientation, decimals, data
):
    slices = [
        replace(facts, position_lps_mm=tuple(round(part, decimals) for part in facts.position_lps_mm))
        for facts in stack([k * spacing_mm for k in range(count)], orientation=orientation)
    ]
    geometry = geometry_of(data.draw(st.permutations(slices)))
    assert (geometry.contiguous, geometry.uniform, geometry.positions) == (True, True, count)
    assert geometry.spacing_mm == pytest.approx(spacing_mm, abs=0.01)
    assert geometry.alone


@given(
    count=st.integers(4, 60), spacing_mm=SPACINGS_MM, orientation=orientations(), first=st.integers(), data=st.data()
)
def test_a_missing_inner_slice_is_always_seen_whatever_the_numbers_say(count, spacing_mm, orientation, first, data):
    slices = stack([k * spacing_mm for k in range(count)], orientation=orientation)
    del slices[data.draw(st.integers(1, count - 2))]
    renumbered = [replace(facts, instance_number=first + k) for k, facts in enumerate(slices)]
    geometry = geometry_of(data.draw(st.permutations(renumbered)))
    assert (geometry.contiguous, geometry.gaps) == (False, 1)
    assert geometry.largest_gap_mm == pytest.approx(2 * spacing_mm, abs=0.002)
    assert not contents_of(renumbered).seems_whole


@given(distances_mm=st.lists(st.floats(-500, 500), min_size=3, max_size=40), data=st.data())
def test_the_order_of_arrival_changes_nothing(distances_mm, data):
    slices = stack(distances_mm)
    assert contents_of(data.draw(st.permutations(slices))) == contents_of(slices)


def test_positions_rounded_to_one_decimal_are_no_gap():
    geometry = geometry_of(stack([round(k * 0.625, 1) for k in range(50)]))
    assert (geometry.contiguous, geometry.uniform) == (True, True)


def test_half_a_stack_of_every_other_slice_is_seen_while_it_comes_in():
    assert geometry_of(stack([0, 1, 2, 4, 6, 8, 10, 12, 14])).gaps == 6


def test_a_scout_in_two_views_tells_nothing_by_its_positions_and_counts_by_its_numbers():
    scout = stack([0.0]) + stack([0.0], orientation=SAGITTAL, first_number=2)
    contents = contents_of(scout)
    assert (contents.geometry.contiguous, contents.missing_numbers) == (None, 0)
    assert contents.seems_whole


def test_a_scout_within_the_series_does_not_hide_a_gap_and_makes_none():
    scout = stack([0.0], orientation=SAGITTAL)
    assert contents_of([*scout, *stack([0, 5, 10, 15], first_number=2)]).seems_whole
    assert contents_of([*scout, *stack([0, 5, 15, 20], first_number=2)]).geometry.gaps == 1


def test_acquisitions_apart_from_each_other_are_no_gap_while_the_numbers_run_on():
    chest = stack([k * 1.0 for k in range(30)], acquisition=1)
    abdomen = stack([200 + k * 5.0 for k in range(20)], acquisition=2, first_number=31)
    contents = contents_of([*chest, *abdomen])
    assert (contents.geometry.gaps, contents.geometry.uniform, contents.geometry.spacing_mm) == (0, True, 1.0)
    assert contents.seems_whole
    # A whole acquisition between the two may be missing, which only the numbers show.
    later = [replace(facts, instance_number=facts.instance_number + 20) for facts in abdomen]
    assert not contents_of([*chest, *later]).seems_whole


def test_a_gap_within_one_of_several_acquisitions_is_seen():
    first = stack([0, 1, 2, 3, 4, 5], acquisition=1)
    second = stack([100, 105, 115, 120], acquisition=2, first_number=7)
    assert geometry_of([*first, *second]).gaps == 1


def test_step_and_shoot_with_one_slice_an_acquisition_is_one_stack():
    slices = [facts for k in range(12) for facts in stack([k * 8.0], acquisition=k, first_number=k)]
    assert contents_of(slices).geometry.alone
    assert geometry_of([facts for facts in slices if facts.instance_number != 4]).gaps == 1


def test_two_phases_at_the_same_positions_are_no_gap_but_the_numbers_must_run_on():
    first, second = stack([0, 5, 10, 15, 20]), stack([0, 5, 10, 15, 20], first_number=6)
    assert contents_of([*first, *second]).seems_whole
    assert not contents_of([*first, *second[:2], *second[3:]]).seems_whole


def test_slices_without_a_position_leave_the_word_to_the_numbers():
    unplaced = [SliceFacts(instance_number=number) for number in (1, 2, 3)]
    assert contents_of(unplaced).seems_whole
    assert not contents_of([unplaced[0], unplaced[2]]).seems_whole
    assert not contents_of([*unplaced, None]).seems_whole


def test_numbers_that_do_not_begin_at_one_or_skip_are_no_gap_where_the_positions_show_none():
    slices = [replace(facts, instance_number=facts.instance_number * 2 + 100) for facts in stack([0, 5, 10, 15])]
    contents = contents_of(slices)
    assert contents.missing_numbers == 3
    assert contents.seems_whole


def test_an_enhanced_instance_is_whole_by_itself():
    contents = contents_of([SliceFacts(frames=120)])
    assert (contents.frames, contents.seems_whole) == (120, True)


def test_a_radial_reformat_is_not_taken_for_a_stack():
    def view(deg):
        turn = math.radians(deg)
        return (math.cos(turn), math.sin(turn), 0.0, 0.0, 0.0, -1.0)

    views = [
        facts for number in range(60) for facts in stack([0.0], orientation=view(number * 3), first_number=number + 1)
    ]
    contents = contents_of(views)
    assert contents.geometry.contiguous is None
    assert contents.seems_whole


@pytest.mark.parametrize(
    ("acquisitions", "counts", "expected"),
    [
        ([1] * 10, [40] * 10, 40),
        ([1] * 10, [None] * 9 + [40], 40),
        ([None] * 3, [None] * 3, None),
        ([None] * 3, [5] * 3, 5),
        ([1] * 4 + [2] * 4, [10] * 8, 20),
        ([1] * 10 + [2] * 4, [10] * 10 + [6] * 4, 16),
        ([1] * 10 + [2] * 4, [10] * 10 + [None] * 4, None),  # the second one says nothing
        ([1] * 12 + [2] * 8, [10] * 20, None),  # of the first one more came than it says: it is no count
    ],
)
def test_the_tag_of_the_acquisition_is_added_up_over_those_seen(acquisitions, counts, expected):
    slices = [
        SliceFacts(acquisition_number=number, images_in_acquisition=count)
        for number, count in zip(acquisitions, counts, strict=True)
    ]
    contents = contents_of(slices)
    assert contents.expected_by_tag is None
    assert contents.announced == (expected, None if expected is None else "acquisition")


@pytest.mark.parametrize(("counts", "expected"), [([40] * 3, 40), ([None, 40, 12], 40), ([None] * 3, None), ([], None)])
def test_the_tag_of_the_series_goes_before_that_of_the_acquisition(counts, expected):
    slices = [SliceFacts(expected_instances=count, images_in_acquisition=12) for count in counts]
    contents = contents_of(slices)
    assert contents.expected_by_tag == expected
    if expected:
        assert contents.announced == (40, "tag")


@pytest.mark.parametrize(
    "orientation", [(0.0,) * 6, (1.0, 0.0, 0.0, 1.0, 0.0, 0.0), (float("nan"),) * 6, (1e200,) * 3 + (-1e200,) * 3]
)
def test_an_orientation_that_is_none_is_as_no_orientation(orientation):
    slices = [replace(facts, orientation_lps=orientation) for facts in stack([0, 1, 2, 3])]
    assert geometry_of(slices).contiguous is None


def test_the_evidence_is_json_with_its_figures():
    known = Evidence(RELEASED, 5.234, 9.0, contents_of(stack([0, 5, 15, 20])), 5, "c-find")
    shown = json.loads(json.dumps(known.as_json("gap")))
    assert (shown["rule"], shown["association"], shown["quiet_s"]) == ("gap", "released", 5.2)
    assert (shown["instances"], shown["expected"], shown["expected_by"]) == (4, 5, "c-find")
    assert (shown["geometry"]["gaps"], shown["geometry"]["largest_gap_mm"]) == (1, 10.0)
