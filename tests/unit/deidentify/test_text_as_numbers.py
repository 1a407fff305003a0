"""Letters in an element of numbers do not stay in the copy, and an element that cannot be written is refused."""

import struct
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import KEYS, ct_slice, received
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from covnode.deidentify.elements import EXPLICIT_LITTLE, encode, encode_item
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.profile import Action, node_profile
from covnode.deidentify.values import keep_numbers
from covnode.errors import DeidentificationRefused

PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
WIDE = {"FL": 4, "FD": 8, "UL": 4, "SL": 4, "AT": 4, "UV": 8, "SV": 8, "OV": 8}


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(sorted(WIDE)), st.sampled_from("<>"))
def test_four_letters_or_more_are_no_number(data, vr, order):
    """Of integers of 64 bits all eight bytes count: four letters before zeros are an offset in a large file."""
    size = WIDE[vr]
    shortest = size if vr in {"UV", "SV", "OV"} else 4
    text = data.draw(st.text(PRINTABLE, min_size=shortest, max_size=size).filter(lambda t: len(t.strip()) >= 4))
    padded = text.encode().ljust(size, data.draw(st.sampled_from([b" ", b"\0"])))
    numbers = st.lists(st.just(padded) | st.just(bytes(size)), max_size=2)
    raw = b"".join([*data.draw(numbers), padded, *data.draw(numbers)])
    assert keep_numbers(vr, raw, 0, order) is None


@pytest.mark.parametrize(
    ("vr", "code", "numbers"),
    [
        ("FD", "d", [0.0, -0.0, 0.1, 1 / 3, -1e-6, 3.14159, 119.7, 250.0, -1023.5, 400_000.5]),
        ("FL", "f", [0.0, 0.5, 0.73, -1.0, 100.0, 0.0007]),
        ("UL", "L", [0, 1, 512, 400_000_000]),
        ("SL", "l", [0, -1, -512, 400_000_000]),
        ("AT", "HH", [0x0020, 0x9057, 0x0018, 0x9341]),
    ],
    ids=["FD", "FL", "UL", "SL", "AT"],
)
@pytest.mark.parametrize("order", "<>")
def test_figures_of_an_image_stay(vr, code, numbers, order):
    each = len(code)
    for start in range(0, len(numbers), each):
        raw = struct.pack(f"{order}{code}", *numbers[start : start + each])
        assert keep_numbers(vr, raw, 1, order) == raw


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=["little", "big"])
@pytest.mark.parametrize(
    ("keyword", "text"),
    [("TableSpeed", b"19510329"), ("TableSpeed", b"Doe\0\0\0\0\0"), ("EnergyWeightingFactor", b"4432")],
)
def test_a_number_made_of_text_is_removed_from_the_copy(tmp_path, transfer_syntax, keyword, text):
    dataset = ct_slice(transfer_syntax=transfer_syntax)
    code = "d" if len(text) == 8 else "f"
    order = "<" if transfer_syntax == ExplicitVRLittleEndian else ">"
    setattr(dataset, keyword, struct.unpack(f"{order}{code}", text)[0])
    series = received(tmp_path / "in", [dataset])
    assert text in series.instances[0].path.read_bytes()
    copies, _ = deidentify_series(series, tmp_path / "out", KEYS)
    assert text not in copies.files[0].read_bytes()
    dataset[keyword].value = 1.25
    copies, _ = deidentify_series(received(tmp_path / "in", [dataset]), tmp_path / "out", KEYS)
    assert dcmread(copies.files[0])[keyword].value == 1.25


def test_a_pointer_to_a_tag_that_is_text_is_removed(tmp_path):
    good, bad = Dataset(), Dataset()
    group, number = struct.unpack("<HH", b"Jane")
    good.DimensionIndexPointer, bad.DimensionIndexPointer = 0x00209057, group << 16 | number
    series = received(tmp_path / "in", [ct_slice(PatientName="Who", DimensionIndexSequence=[good, bad])])
    assert b"Jane" in series.instances[0].path.read_bytes()
    copies, _ = deidentify_series(series, tmp_path / "out", KEYS)
    assert b"Jane" not in copies.files[0].read_bytes()
    kept, gone = dcmread(copies.files[0]).DimensionIndexSequence
    assert kept.DimensionIndexPointer == 0x00209057
    assert "DimensionIndexPointer" not in gone


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [(0x00201041, "UN", b"\\".join([b"12.5"] * 20_000)), (0x00081155, "UI", b"\\".join([b"1.2"] * 10_000))],
    ids=["a long number of VR UN", "UIDs that grow"],
)
def test_a_value_too_long_to_be_written_is_refused(tmp_path, tag, vr, value):
    content = received(tmp_path / "in", [ct_slice()]).instances[0].path.read_bytes()
    position = content.index(b"\x28\0\x02\0")
    planted = encode(tag, vr, value, EXPLICIT_LITTLE)
    if tag == 0x00081155:
        planted = encode(0x00209172, "SQ", encode_item(planted, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    series = received(tmp_path / "in", [content[:position] + planted + content[position:]])
    with pytest.raises(DeidentificationRefused) as refused:
        deidentify_series(series, tmp_path / "out", KEYS)
    assert refused.value.code == "unreadable_instance"
    assert not (tmp_path / "out").exists()


def test_attributes_of_commands_meta_information_and_directories_do_not_stay_in_a_data_set(tmp_path):
    assert "00001001,RequestedSOPInstanceUID,U" in (files("covnode.deidentify") / "profile.csv").read_text()
    assert min(tag for tag, rule in node_profile().rules.items() if rule.action is not Action.REMOVE) > 0x00080000
    content = received(tmp_path / "in", [ct_slice()]).instances[0].path.read_bytes()
    item = encode(0x00001001, "UI", b"1.2.3.4", EXPLICIT_LITTLE) + encode(0x00020003, "UI", b"1.2.3.5", EXPLICIT_LITTLE)
    position = content.index(b"\x28\0\x02\0")
    planted = encode(0x00209172, "SQ", encode_item(item, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    series = received(tmp_path / "in", [content[:position] + planted + content[position:]])
    copies, _ = deidentify_series(series, tmp_path / "out", KEYS)
    assert len(dcmread(copies.files[0]).ConversionSourceAttributesSequence[0]) == 0
