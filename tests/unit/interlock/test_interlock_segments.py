"""Segments with other codes, numbers, frames or tracking identities are refused, and reports that name others."""

import copy

import pytest
from planting import changed, exchange, frames_of, items, put_frames, refused, remove

from covnode.interlock.refusals import Rule


@pytest.mark.parametrize("keyword", ["SegmentedPropertyTypeCodeSequence", "SegmentLabel"])
def test_codes_that_do_not_go_together(deliver, tmp_path, keyword):
    assert refused(changed(deliver(), tmp_path, seg=lambda seg: exchange(seg, keyword))) == Rule.SEGMENT_CODES


def drop_modifier(seg):
    del seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence


def wrong_category(seg):
    seg.SegmentSequence[2].SegmentedPropertyCategoryCodeSequence[0].CodeValue = "91723000"


def two_left_lungs(seg):
    for keyword in ("SegmentedPropertyTypeCodeSequence", "SegmentLabel"):
        setattr(seg.SegmentSequence[1], keyword, copy.deepcopy(seg.SegmentSequence[0][keyword].value))


@pytest.mark.parametrize("mutate", [drop_modifier, wrong_category, two_left_lungs])
def test_wrong_segment_codes(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.SEGMENT_CODES


def test_wrong_segment_numbers(deliver, tmp_path):
    assert refused(
        changed(deliver(), tmp_path, seg=lambda seg: setattr(seg.SegmentSequence[0], "SegmentNumber", 7))
    ) == (Rule.SEGMENT_NUMBERS)

    def lost_frame(seg):
        seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9

    assert refused(changed(deliver(), tmp_path, seg=lost_frame)) == Rule.SEGMENT_NUMBERS


def keep_frames(seg, kept):
    groups = seg.PerFrameFunctionalGroupsSequence
    put_frames(seg, frames_of(seg)[kept])
    seg.PerFrameFunctionalGroupsSequence = [copy.deepcopy(groups[index]) for index in kept]


def test_a_missing_frame(deliver, tmp_path):
    drop = lambda seg: keep_frames(seg, [i for i in range(seg.NumberOfFrames) if i != 6])  # noqa: E731
    assert refused(changed(deliver(), tmp_path, seg=drop)) == Rule.FRAMES


def test_a_frame_that_is_there_twice(deliver, tmp_path):
    double = lambda seg: keep_frames(seg, [*range(seg.NumberOfFrames), 3])  # noqa: E731
    assert refused(changed(deliver(), tmp_path, seg=double)) == Rule.FRAMES


def test_a_missing_segment(deliver, tmp_path):
    def drop_last(seg):
        numbers = [
            g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in seg.PerFrameFunctionalGroupsSequence
        ]
        keep_frames(seg, [i for i, number in enumerate(numbers) if number != 4])
        seg.SegmentSequence = seg.SegmentSequence[:3]

    assert refused(changed(deliver(), tmp_path, seg=drop_last)) == Rule.SEGMENT_CODES


def truncate(seg):
    seg.PixelData = seg.PixelData[:-390]


def fewer_groups(seg):
    del seg.PerFrameFunctionalGroupsSequence[-1]


def call_it_labelmap(seg):
    seg.SegmentationType = "FRACTIONAL"


@pytest.mark.parametrize("mutate", [truncate, fewer_groups, call_it_labelmap])
def test_pixel_data_of_another_form(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.ENCODING


def no_tracking_uid_in_segmentation(seg):
    del seg.SegmentSequence[1].TrackingUID


def no_tracking_id_in_segmentation(seg):
    seg.SegmentSequence[1].TrackingID = ""


def same_tracking_uid(seg):
    seg.SegmentSequence[1].TrackingUID = seg.SegmentSequence[0].TrackingUID


@pytest.mark.parametrize("mutate", [no_tracking_uid_in_segmentation, no_tracking_id_in_segmentation, same_tracking_uid])
def test_tracking_in_the_segmentation(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, seg=mutate)) == Rule.TRACKING


def no_tracking_uid(report):
    remove(report, "112040")


def no_tracking_id(report):
    remove(report, "112039", 2)


def other_tracking_uid(report):
    items(report, "112040")[1].UID = "2.25.6"


def exchanged_segment_numbers(report):
    first, second = (item.ReferencedSOPSequence[0] for item in items(report, "121191")[:2])
    first.ReferencedSegmentNumber, second.ReferencedSegmentNumber = 2, 1


@pytest.mark.parametrize("mutate", [no_tracking_uid, no_tracking_id, other_tracking_uid, exchanged_segment_numbers])
def test_tracking_in_a_report(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.TRACKING


def no_segment_reference(report):
    remove(report, "121191")


def no_segment_number(report):
    del items(report, "121191")[2].ReferencedSOPSequence[0].ReferencedSegmentNumber


def several_segment_numbers(report):
    items(report, "121191")[2].ReferencedSOPSequence[0].ReferencedSegmentNumber = [3, 4]


def segment_of_another(report):
    items(report, "121191")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.7"


def segment_that_is_not_there(report):
    items(report, "121191")[3].ReferencedSOPSequence[0].ReferencedSegmentNumber = 5


@pytest.mark.parametrize(
    "mutate",
    [no_segment_reference, no_segment_number, several_segment_numbers, segment_of_another, segment_that_is_not_there],
)
def test_references_to_segments(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.SEGMENT_REFERENCE


def test_the_other_side_in_a_report(deliver, tmp_path):
    def mutate(report):
        items(report, "272741003")[0].ConceptCodeSequence[0].CodeValue = "24028007"

    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.SEGMENT_CODES
