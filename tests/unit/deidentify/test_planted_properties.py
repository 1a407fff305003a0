"""Whatever is planted, and wherever: it does not survive, or the series is refused."""

import hashlib
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from planted import KEYS, ct_slice
from pydicom.datadict import DicomDictionary, tag_for_keyword

from covnode.deidentify.elements import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, encode, encode_item
from covnode.deidentify.engine import deidentify_series
from covnode.errors import DeidentificationRefused
from covnode.records.series import ReceivedInstance, ReceivedSeries

SENTINEL = b"QZXJ7KWVQJZX4GQ2"
DEVICE_TEXTS = {tag_for_keyword(k) for k in ("Manufacturer", "ManufacturerModelName", "ConvolutionKernel")}
SERIES_TAGS = {tag_for_keyword(k) for k in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
PUBLIC = sorted(set(DicomDictionary) - DEVICE_TEXTS - SERIES_TAGS)
PUBLIC = [tag for tag in PUBLIC if 0x00080000 < tag < 0x7FE00000 and tag & 0xFFFF]
SEQUENCES = [tag for tag in PUBLIC if DicomDictionary[tag][0] == "SQ"]
VRS = sorted(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OW", "PN", "SH", "SL", "ST"}
    | {"TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "OD", "OF", "OL", "OV", "SS", "SV", "UV"}
)

tags = st.one_of(
    st.sampled_from(PUBLIC),
    st.sampled_from([tag for tag in PUBLIC if DicomDictionary[tag][0] in {"PN", "LO", "UL", "FD", "CS", "DS"}]),
    st.sampled_from([0x00290010, 0x00290011]),  # creators
    st.integers(0x00291000, 0x002911FF),
    st.integers(0, 0x0F).flatmap(lambda n: st.integers(0, 0x4FFF).map(lambda e: 0x60000001 + (n << 17) + e)),
    st.integers(0, 0x0F).flatmap(lambda n: st.integers(0, 0x3FFF).map(lambda e: 0x50000001 + (n << 17) + e)),
    st.integers(0x00080001, 0x7FDFFFFF).filter(lambda tag: tag & 0xFFFF and tag not in DEVICE_TEXTS | SERIES_TAGS),
)
contents = st.one_of(
    st.just(SENTINEL),
    st.just(SENTINEL.lower()),
    st.just(b"1\\" + SENTINEL + b"\\2"),
    st.just(b"20220401" + SENTINEL),
    st.just(b"1.2.3." + SENTINEL),
    st.just(SENTINEL[:4]),
    st.just(SENTINEL[8:]),
    st.just(SENTINEL[2:6] + b"\0\0\0\0"),
)


@st.composite
def leaves(draw, encoding):
    tag, vr, value = draw(tags), draw(st.sampled_from(VRS)), draw(contents)
    standard = DicomDictionary.get(tag, ("UN",))[0][:2]
    if draw(st.booleans()) and standard != "SQ":
        vr = standard
    return tag, encode(tag, vr, value, encoding)


def data_sets(encoding, depth):
    element = leaves(encoding) if depth == 0 else st.one_of(leaves(encoding), sequences(encoding, depth))
    return st.lists(element, min_size=1, max_size=4).map(dict)


@st.composite
def sequences(draw, encoding, depth):
    private = draw(st.booleans()) and draw(st.booleans())
    tag = 0x00291010 if private else draw(st.sampled_from(SEQUENCES))
    written_as = draw(st.sampled_from(["SQ", "SQ undefined", "UN undefined"]))
    inner = IMPLICIT_LITTLE if written_as == "UN undefined" else encoding  # PS3.5 section 6.2.2
    items = draw(st.lists(data_sets(inner, depth - 1), min_size=1, max_size=2))
    written = b"".join(encode_item(b"".join(item[t] for t in sorted(item)), inner) for item in items)
    if written_as == "SQ":
        return tag, encode(tag, "SQ", written, encoding)
    vr = b"" if encoding.implicit else written_as[:2].encode() + b"\0\0"
    return tag, encode(tag, "SQ", b"", encoding)[:4] + vr + b"\xff" * 4 + written + b"\xfe\xff\xdd\xe0\0\0\0\0"


def part10(found, encoding):
    """A CT instance with the planted elements among its own."""
    base = ct_slice()
    transfer_syntax = b"1.2.840.10008.1.2" if encoding.implicit else b"1.2.840.10008.1.2.1"
    own = {}
    for element in base:
        value = element.value if isinstance(element.value, (str, bytes)) else None
        if value is None and element.VR in {"DS", "IS", "CS", "PN"}:
            value = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)
        if value is None:
            value = int(element.value).to_bytes(2, "little")
        value = value if isinstance(value, bytes) else value.encode()
        own[int(element.tag)] = encode(int(element.tag), element.VR.split(" or ")[-1], value, encoding)
    pixels = own.pop(0x7FE00010)
    merged = found | {tag: own[tag] for tag in SERIES_TAGS} | {tag: own[tag] for tag in own if tag not in found}
    meta = encode(0x00020010, "UI", transfer_syntax, EXPLICIT_LITTLE)
    return bytes(128) + b"DICM" + meta + b"".join(merged[tag] for tag in sorted(merged)) + pixels


def outcome(content):
    """The copy's bytes (none when it was refused), and what was said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.dcm"
        path.write_bytes(content)
        series = ReceivedSeries("s", 1, (ReceivedInstance(path, hashlib.sha256(content).hexdigest()),))
        try:
            deidentified, identity = deidentify_series(series, Path(folder) / "out", KEYS)
        except DeidentificationRefused as refusal:
            return b"", str(refusal)
        return deidentified.files[0].read_bytes(), repr(identity)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), st.booleans())
def test_a_planted_value_does_not_survive(data, implicit):
    encoding = Encoding(implicit=implicit, little=True)
    content = part10(data.draw(data_sets(encoding, 6)), encoding)
    copy, said = outcome(content)
    event("copied" if copy else said)
    for length in (4, 8, len(SENTINEL)):
        for begin in range(len(SENTINEL) - length + 1):
            assert SENTINEL[begin : begin + length].lower() not in copy.lower()
    assert SENTINEL.decode().lower() not in said.lower()


def test_the_planted_file_is_what_it_should_be():
    """Most examples must reach the copy, not a refusal: a plain one does."""
    content = part10({0x00081030: encode(0x00081030, "LO", SENTINEL, EXPLICIT_LITTLE)}, EXPLICIT_LITTLE)
    copy, _ = outcome(content)
    assert SENTINEL in content
    assert copy
    assert SENTINEL not in copy
