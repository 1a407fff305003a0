import contextlib
import io
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covnode.errors import InstanceRefused
from covnode.receive import header
from covnode.receive.header_layout import Layouts

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def encoded(ds, syntax):
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    return buffer.getvalue()


def scan(raw, syntax=ExplicitVRLittleEndian, layouts=None):
    return header.scan(lambda count: raw[:count], str(syntax), layouts or Layouts())


def nested(depth, *, undefined):
    inner = Dataset()
    inner.SeriesInstanceUID = "9.9.9"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedStudySequence = Sequence([inner, Dataset()])
        outer["ReferencedStudySequence"].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
        inner = outer
    inner.SeriesInstanceUID = "1.2.3"
    return inner


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [1, 3, 20])
def test_only_the_top_level_counts(syntax, undefined, depth):
    raw = encoded(nested(depth, undefined=undefined), syntax)
    assert scan(raw, syntax)[header.SERIES_INSTANCE_UID].rstrip(b"\0") == b"1.2.3"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_a_header_longer_than_the_first_read_is_read_on(syntax):
    ds = Dataset()
    ds.add_new(0x00091010, "OB", bytes(500_000))
    ds.SeriesInstanceUID = "1.2.3"
    assert scan(encoded(ds, syntax), syntax)[header.SERIES_INSTANCE_UID].rstrip(b"\0") == b"1.2.3"


def test_an_unknown_vr_of_undefined_length_holds_implicit_items():
    # PS3.5 section 6.2.2, note 4 and table 7.1-1: (0009,1010) UN of undefined length with one item.
    inner = b"\x20\x00\x0e\x00\x04\x00\x00\x009.9\0"
    item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    unknown = b"\x09\x00\x10\x10UN\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    series = b"\x20\x00\x0e\x00UI\x04\x001.2\0"
    assert scan(unknown + series) == {header.SERIES_INSTANCE_UID: b"1.2\0"}


def test_pixel_data_is_never_looked_at():
    series = b"\x20\x00\x0e\x00UI\x04\x001.2\0"
    pixels = b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\x7f"  # two gigabytes that are not there
    assert scan(series + pixels) == {header.SERIES_INSTANCE_UID: b"1.2\0"}


def test_endless_nesting_is_refused():
    raw = b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    with pytest.raises(InstanceRefused):
        scan(raw)


@pytest.mark.parametrize("cut", [1, 5, 9, 20])
def test_a_header_that_is_cut_off_is_refused(cut):
    raw = b"\x20\x00\x0d\x00UI\x04\x001.2\0" + b"\x20\x00\x0e\x00UI\x04\x001.2\0"
    with pytest.raises(InstanceRefused):
        scan(raw[:cut])


@given(st.binary(max_size=400), st.sampled_from(SYNTAXES))
def test_any_bytes_are_read_or_refused(raw, syntax):
    with contextlib.suppress(InstanceRefused):
        assert all(value in raw for value in scan(raw, syntax).values())


def element(tag, vr, value):
    group, number = tag >> 16, tag & 0xFFFF
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr + len(value).to_bytes(2, "little") + value


def slice_header(number, *, middle=b"", name=b"Doe "):
    instance = element(header.SOP_INSTANCE_UID, b"UI", b"1.2.%03d\0" % number)
    patient = element(header.PATIENT_NAME, b"PN", name)
    series = element(header.SERIES_INSTANCE_UID, b"UI", b"1.2\0")
    place = element(header.INSTANCE_NUMBER, b"IS", b"%04d" % number)
    return instance + patient + middle + series + place + b"\xe0\x7f\x10\x00OW\0\0\x02\0\0\0ab"


def test_a_header_laid_out_as_the_one_before_is_read_without_a_walk_and_alike():
    layouts = Layouts()
    scan(slice_header(1), layouts=layouts)
    with patch("covnode.receive.header._walk", side_effect=AssertionError("walked")):
        values = scan(slice_header(2), layouts=layouts)
    assert values == scan(slice_header(2)) != scan(slice_header(1))


@pytest.mark.parametrize(
    "other",
    [
        slice_header(2, name=b"Roe^Ann "),
        # As long as before in all, with one element for another, or a boundary elsewhere.
        slice_header(2).replace(b"PN", b"LO"),
        slice_header(2).replace(b"\x10\0\x10\0PN", b"\x10\0\x11\0PN"),
        slice_header(2, name=b"").replace(b"IS\x04\0", b"IS\x08\0    "),
        slice_header(2, middle=b"\x10\0\x20\0UN\0\0\xff\xff\xff\xff" + b"\xfe\xff\xdd\xe0" + bytes(4)),
    ],
    ids=["another length", "another VR", "another tag", "a boundary moved", "a sequence more"],
)
def test_a_header_laid_out_otherwise_is_walked(other):
    layouts = Layouts()
    scan(slice_header(1), layouts=layouts)
    assert scan(other, layouts=layouts) == scan(other)


def test_what_stands_within_a_sequence_of_undefined_length_is_a_part_of_the_layout():
    item, item_end, end = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
    begin = b"\x10\0\x02\x10SQ\0\0" + b"\xff" * 4
    one = begin + item + b"\xff" * 4 + element(0x00100020, b"LO", b"12345678" + end) + item_end + end
    other = begin + item + b"\xff" * 4 + element(0x00100020, b"LO", b"12345678")[:-8] + bytes(8) + item_end + end
    layouts = Layouts()
    scan(slice_header(1, middle=one), layouts=layouts)
    for raw in (slice_header(2, middle=other), slice_header(3, middle=one)):
        found = expected = None
        with contextlib.suppress(InstanceRefused):
            expected = scan(raw)
        with contextlib.suppress(InstanceRefused):
            found = scan(raw, layouts=layouts)
        assert found == expected


def test_of_a_tag_that_stands_twice_the_last_value_counts_in_either_way():
    layouts = Layouts()
    twice = element(header.SOP_INSTANCE_UID, b"UI", b"9.9.9.9\0")
    scan(slice_header(1, middle=twice), layouts=layouts)
    assert scan(slice_header(2, middle=twice), layouts=layouts) == scan(slice_header(2, middle=twice))
    assert scan(slice_header(2, middle=twice), layouts=layouts)[header.SOP_INSTANCE_UID] == b"9.9.9.9\0"


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_layouts_never_change_what_is_read(chunks):
    layouts = Layouts()
    for number, chunk in enumerate(chunks):
        raw = slice_header(number, middle=chunk)
        for syntax in SYNTAXES:
            found = expected = None
            with contextlib.suppress(InstanceRefused):
                expected = scan(raw, syntax)
            with contextlib.suppress(InstanceRefused):
                found = scan(raw, syntax, layouts)
            assert found == expected
