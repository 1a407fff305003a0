"""Objects that are damaged or incomplete are refused."""

from dataclasses import replace

import pytest
from planting import SEG, SR, changed, refused

from covnode.interlock.refusals import Rule


def test_an_object_that_cannot_be_read(deliver, tmp_path):
    delivery = deliver()
    for kind in (SEG, SR):
        whole = delivery.objects[kind].read_bytes()
        for content in (b"", whole[:100], whole[: len(whole) // 2]):
            path = tmp_path / "cut.dcm"
            path.write_bytes(content)
            assert refused(replace(delivery, objects={**delivery.objects, kind: path}))
    gone = replace(delivery, objects={**delivery.objects, SR: tmp_path / "gone.dcm"})
    assert refused(gone) == Rule.UNREADABLE


def test_a_report_without_its_segmentation(deliver):
    delivery = deliver()
    assert refused(replace(delivery, objects={SR: delivery.objects[SR]})) == Rule.MISSING_OBJECT


@pytest.mark.parametrize("keyword", ["SegmentSequence", "NumberOfFrames", "Rows", "PerFrameFunctionalGroupsSequence"])
def test_an_object_that_lacks_what_it_must_have(deliver, tmp_path, keyword):
    mutated = changed(deliver(), tmp_path, seg=lambda seg: delattr(seg, keyword))
    assert refused(mutated) in {Rule.UNREADABLE, Rule.ENCODING, Rule.SEGMENT_NUMBERS}
