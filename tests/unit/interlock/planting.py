"""Tools to plant a defect into a copy of a delivery and to see which rule refuses it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from covnode.errors import DeliveryRefused
from covnode.records.result import ObjectKind

SEG, SR, FULL = ObjectKind.SEG, ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION
IDENTITY = ("PID-4711", "HOSPITAL", "Müller", "Jörg", "ACC-77", "19600102", "20260303")


def refused(delivery):
    with pytest.raises(DeliveryRefused) as caught:
        delivery.check()
    message = str(caught.value)
    uids = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in delivery.originals[:1]}
    assert not any(value in message for value in (*IDENTITY, *uids, "2.25.")), message
    return caught.value.code


def changed(delivery, folder, **mutations):
    """Take the SEG and the objects of `mutations` (object kind -> function on its data set), and carry them out."""
    objects = {SEG: delivery.objects[SEG]}
    for kind, mutate in mutations.items():
        dataset = dcmread(delivery.objects[ObjectKind(kind)])
        mutate(dataset)
        objects[ObjectKind(kind)] = folder / f"{kind}.dcm"
        dataset.save_as(objects[ObjectKind(kind)])
    return replace(delivery, objects=objects)


def setter(keyword, value):
    return lambda dataset: setattr(dataset, keyword, value)


def frames_of(seg):
    pixels = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    return pixels[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)


def put_frames(seg, frames):
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    seg.NumberOfFrames = len(frames)


def walk(item):
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def concept(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else None


def items(report, code):
    return [item for item in walk(report) if concept(item) == code]


def remove(report, code, index=0):
    wanted = items(report, code)[index]
    for holder in walk(report):
        if any(item is wanted for item in holder.get("ContentSequence", [])):
            holder.ContentSequence = [item for item in holder.ContentSequence if item is not wanted]


def exchange(seg, *keywords):
    left, right = seg.SegmentSequence[:2]
    for keyword in keywords:
        first, second = copy.deepcopy(left[keyword].value), copy.deepcopy(right[keyword].value)
        setattr(left, keyword, second)
        setattr(right, keyword, first)
