"""A sentinel in every kind of place, at every depth, in every encoding: the copy is made, and holds none of them."""

from itertools import count

import pytest
from planted import KEYS, ct_slice, received
from pydicom import dcmread
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covnode.deidentify import cleaning
from covnode.deidentify.elements import IMPLICIT_LITTLE, PIXEL_DATA, Encoding, elements, encode, encode_item
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.leaks import LeakCheck
from covnode.deidentify.profile import node_profile
from covnode.errors import DeidentificationRefused

SENTINEL = b"QZXJ7KWVQJZX4GQ2"
SHORTEST = 4
DEEPEST = 6
STRINGS = ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
VRS = [*STRINGS, *["AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SS", "SV", "UL", "UN", "US", "UV"]]
TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
pytestmark = pytest.mark.usefixtures("pixels_unseen")

NAMES_OF_THE_INSTANCE = "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID"
DEVICE_TEXTS = "Manufacturer ManufacturerModelName ConvolutionKernel"
LEFT_ALONE = {tag_for_keyword(k) for k in f"{NAMES_OF_THE_INSTANCE} {DEVICE_TEXTS} SpecificCharacterSet".split()}
# kept sequences, so that the walk goes all the way down
CHAIN = [tag_for_keyword(k) for k in ("ReferencedSeriesSequence", "SourceImageSequence", "FrameContentSequence")]
UNDEFINED, END_OF_SEQUENCE = b"\xff" * 4, b"\xfe\xff\xdd\xe0\0\0\0\0"


def public(variant):
    """Every attribute that may stay in some form, and one of each VR that may not; wrong VRs in odd variants."""
    rules = node_profile().rules
    removed = {entry[0]: tag for tag, entry in DicomDictionary.items() if tag not in rules and tag >> 16 > 7}
    for number, tag in enumerate(sorted(set(rules) | set(removed.values()))):
        vr = DicomDictionary.get(tag, ("LO",))[0].split(" or ")[0]
        if tag in LEFT_ALONE or vr == "SQ" or tag > 0x7FE00000:
            continue
        wrong = VRS[(number + variant) % len(VRS)]
        yield tag, wrong if variant % 2 else vr


def private(variant):
    """Blocks with a creator and without, odd groups, group lengths and unknown attributes; each VR once."""
    yield 0x00290010, "LO"
    for number, vr in enumerate(VRS):
        yield 0x00291000 + number, vr
        yield 0x00310100 + number, vr
        yield (0x000B + 2 * ((number * 97 + variant) % 0x3F00) << 16) + 0x1001, vr
        yield 0x0018F000 + number, vr
    yield 0x00280000, "UL"
    yield 0xFFFCFFFC, "OB"


def repeating():
    """Curves and overlays in their first and last groups."""
    for mask, entry in RepeatersDictionary.items():
        for group in ("00", "1E"):
            yield int(mask.replace("xx", group).replace("x", "0"), 16), entry[0].split(" or ")[0]


def contents(vr, variant):
    """The sentinel whole, as one of several values, within a value, and of the size of a number."""
    if vr == "AT" or vr in {"FL", "UL", "SL"}:
        return SENTINEL[variant % 12 :][:4]
    if vr in {"FD", "OV", "UV", "SV"}:
        return SENTINEL[variant % 8 :][:8]
    return [SENTINEL, b"1\\" + SENTINEL + b"\\2", b"20220401" + SENTINEL, b"1.2.3." + SENTINEL][variant % 4]


def level(depth, encoding):
    """The elements of one data set by tag, and in one of them the level below."""
    number = count(depth)
    found = {}
    for tag, vr in (*public(depth), *private(depth), *repeating()):
        found[tag] = encode(tag, vr, contents(vr, next(number)), encoding)
    found[0x00291060] = encode(0x00291060, "SQ", item(encoding), encoding)
    found[0x00880200] = encode(0x00880200, "SQ", icon(encoding), encoding)
    if not encoding.implicit and encoding.little:  # pydicom reads the items of UN in the file's byte order
        found[0x00291061] = of_unknown_vr(0x00291061, encoding)
        found[0x00180012] = of_unknown_vr(0x00180012, encoding)
    return found


def item(encoding):
    return encode_item(encode(0x00100010, "PN", SENTINEL, encoding), encoding)


def icon(encoding):
    """An icon whose pixels are a fragment."""
    order = "little" if encoding.little else "big"

    def words(*numbers):
        return b"".join(n.to_bytes(2, order) for n in numbers)

    header = words(0x7FE0, 0x0010) + (b"" if encoding.implicit else b"OB\0\0") + UNDEFINED
    fragment = words(0xFFFE, 0xE000) + len(SENTINEL).to_bytes(4, order) + SENTINEL + words(0xFFFE, 0xE0DD) + bytes(4)
    return encode_item(encode(0x00280010, "US", words(1), encoding) + header + fragment, encoding)


def of_unknown_vr(tag, encoding):
    """A sequence of undefined length whose VR was not known to who sent it: its items are implicit, little endian."""
    order = "little" if encoding.little else "big"
    start = (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order) + b"UN\0\0" + UNDEFINED
    return start + item(IMPLICIT_LITTLE) + END_OF_SEQUENCE


def planted(deepest, encoding):
    """Levels from the root down to a depth."""
    below = None
    for depth in range(deepest, -1, -1):
        found = level(depth, encoding)
        if below is not None:
            chain = CHAIN[depth % len(CHAIN)]
            found[chain] = encode(chain, "SQ", encode_item(cleaning.joined(below), encoding), encoding)
        below = found
    return below


def instance(folder, deepest, transfer_syntax):
    """A slice, as bytes, with sentinels among and in place of its own elements."""
    implicit, little = transfer_syntax == ImplicitVRLittleEndian, transfer_syntax != ExplicitVRBigEndian
    encoding = Encoding(implicit=implicit, little=little)
    path = received(folder, [ct_slice(transfer_syntax=transfer_syntax)]).instances[0].path
    dataset, content = dcmread(path), path.read_bytes()
    pixels = content[content.rindex(b"\xe0\x7f\x10\0" if little else b"\x7f\xe0\0\x10") :]
    start = 132 + 12 + int(dataset.file_meta.FileMetaInformationGroupLength)
    sent = planted(deepest, encoding)
    for element in elements(content, start, len(content), encoding):
        if element.tag not in PIXEL_DATA:
            sent.setdefault(element.tag, content[element.begin : element.stop])
    after = sent.pop(0xFFFCFFFC)
    return content[:start] + cleaning.joined(sent) + pixels + after


def left_in(content):
    pieces = {SENTINEL[begin : begin + SHORTEST].lower() for begin in range(len(SENTINEL) - SHORTEST + 1)}
    return sorted(piece for piece in pieces if piece in content.lower())


def copy_of(folder, content):
    series = received(folder / "planted", [content])
    copies, identity = deidentify_series(series, folder / "out", KEYS)
    return copies.files[0].read_bytes(), repr(identity)


def walk_of(folder):
    """How deep the copy's kept sequences go."""
    found, depth = dcmread(folder / "out" / "00001.dcm"), 0
    while found.get(CHAIN[depth % len(CHAIN)]) is not None:
        (found,) = found[CHAIN[depth % len(CHAIN)]].value
        depth += 1
    return depth


@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("deepest", range(DEEPEST + 1))
def test_no_sentinel_is_left_at_any_depth(tmp_path, transfer_syntax, deepest):
    content = instance(tmp_path / "own", deepest, transfer_syntax)
    assert content.count(SENTINEL) > 300 * (deepest + 1)
    copy, said = copy_of(tmp_path, content)
    assert left_in(copy) == []
    assert SENTINEL.decode() not in said
    assert walk_of(tmp_path) == deepest


def kept_as_sent(tag):
    """Break the rule on one tag: its value stays as it came."""

    def breaking(monkeypatch):
        clean = cleaning.Cleaner.clean

        def broken(self, data, found, encoding):
            found = list(found)
            kept = clean(self, data, found, encoding)
            kept |= {e.tag: encode(e.tag, e.vr, data[e.start : e.stop], encoding) for e in found if e.tag == tag}
            return kept

        monkeypatch.setattr(cleaning.Cleaner, "clean", broken)

    return breaking


def uncleaned_below(depth):
    """Break the walk: the items of that depth stay as they came."""

    def breaking(monkeypatch):
        sequence, depths = cleaning.Cleaner._sequence, []

        def broken(self, rule, element, data, encoding):
            depths.append(element.tag)
            try:
                if len(depths) == depth:
                    return encode(element.tag, "SQ", data[element.start : element.stop], encoding)
                return sequence(self, rule, element, data, encoding)
            finally:
                depths.pop()

        monkeypatch.setattr(cleaning.Cleaner, "_sequence", broken)

    return breaking


def numbers_unchecked(monkeypatch):
    monkeypatch.setattr(cleaning.values, "keep_numbers", lambda vr, raw, most, order: raw)


def texts_unchecked(monkeypatch):
    monkeypatch.setattr(cleaning.values, "keep", lambda rule, vr, raw: raw)


def dates_unchecked(monkeypatch):
    monkeypatch.setattr(cleaning.values, "moved", lambda vr, raw, offset_days: raw)


BROKEN = {
    "a private tag stays": kept_as_sent(0x00291003),
    "a tag of an odd group without a creator stays": kept_as_sent(0x00310103),
    "a private creator stays": kept_as_sent(0x00290010),
    "an unknown tag stays": kept_as_sent(0x0018F001),
    "overlay comments stay": kept_as_sent(0x60004000),
    "a curve's description stays": kept_as_sent(0x501E0022),
    "an icon stays": kept_as_sent(0x00880200),
    "trailing padding stays": kept_as_sent(0xFFFCFFFC),
    "depth 3 is not cleaned": uncleaned_below(3),
    "depth 6 is not cleaned": uncleaned_below(6),
    "numbers are not checked": numbers_unchecked,
    "kept texts are not checked": texts_unchecked,
    "dates are not checked": dates_unchecked,
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_leaves_sentinels_that_are_found(tmp_path, monkeypatch, breaking):
    """Each rule broken alone, and the engine's own check silenced: this file's comparison sees it."""
    content = instance(tmp_path / "own", DEEPEST, ExplicitVRLittleEndian)
    breaking(monkeypatch)
    monkeypatch.setattr(LeakCheck, "verify", lambda self, copy: None)
    copy, _ = copy_of(tmp_path, content)
    assert left_in(copy)


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_refused_by_the_check(tmp_path, monkeypatch, breaking):
    content = instance(tmp_path / "own", DEEPEST, ExplicitVRLittleEndian)
    breaking(monkeypatch)
    with pytest.raises(DeidentificationRefused) as refused:
        copy_of(tmp_path, content)
    assert refused.value.code == "identity_left"
    assert not (tmp_path / "out").exists()
