import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covnode.errors import InstanceRefused
from covnode.receive import header

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def encoded(ds, syntax):
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    return buffer.getvalue()


def scan(raw, syntax=ExplicitVRLittleEndian):
    return header.scan(lambda count: raw[:count], str(syntax))


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
