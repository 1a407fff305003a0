"""The reader and writer of elements, on encodings that pydicom's writer does not make."""

import struct
import zlib

import pytest
from planted import KEYS, ct_slice, received
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covnode.deidentify import elements
from covnode.deidentify.elements import EXPLICIT_LITTLE, IMPLICIT_LITTLE, encode, encode_item
from covnode.deidentify.engine import deidentify_series
from covnode.errors import DeidentificationRefused

UNDEFINED = b"\xff\xff\xff\xff"
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
SECRET = b"Zqsecret"


def deidentified(tmp_path, inserted, transfer_syntax=ExplicitVRLittleEndian):
    """The copy of a slice with bytes inserted before its Slice Thickness (0018,0050)."""
    folder = tmp_path / "in"
    original = received(folder, [ct_slice(transfer_syntax=transfer_syntax)]).instances[0].path.read_bytes()
    position = original.index(b"\x18\0\x50\0")
    series = received(folder, [original[:position] + inserted + original[position:]])
    copies, _ = deidentify_series(series, tmp_path / "out", KEYS)
    return copies.files[0]


def undefined(content):
    """An item and a sequence of undefined length."""
    return ITEM + UNDEFINED + content + ITEM_END + SEQUENCE_END


IMPLICIT_NAME = encode(0x00100010, "PN", SECRET, IMPLICIT_LITTLE)
EXPLICIT_NAME = encode(0x00100010, "PN", SECRET, EXPLICIT_LITTLE)
KVP_IMPLICIT = encode(0x00180060, "DS", b"140 ", IMPLICIT_LITTLE)


@pytest.mark.parametrize(
    "inserted",
    [
        b"\x11\0\x10\x10UN\0\0" + UNDEFINED + undefined(IMPLICIT_NAME),
        b"\x11\0\x10\x10SQ\0\0" + UNDEFINED + undefined(EXPLICIT_NAME),
        b"\x11\0\x10\x10SQ\0\0" + UNDEFINED + undefined(b"\x11\0\x11\x10SQ\0\0" + UNDEFINED + undefined(EXPLICIT_NAME)),
        b"\x11\0\x10\x10OB\0\0" + UNDEFINED + ITEM + b"\x08\0\0\0" + SECRET + SEQUENCE_END,
        b"\x18\0\x12\0SQ\0\0" + UNDEFINED + undefined(EXPLICIT_NAME),
        b"\x18\0\x12\0UN\0\0" + UNDEFINED + undefined(IMPLICIT_NAME + KVP_IMPLICIT),
        b"\x18\0\x12\0UN\0\0" + struct.pack("<L", len(IMPLICIT_NAME) + 8) + encode_item(IMPLICIT_NAME, IMPLICIT_LITTLE),
        b"\x18\0\x00\0UL\x04\0\x10\0\0\0",
        b"\xfe\xff\x0d\xe0\0\0\0\0",
    ],
    ids=[
        "UN",
        "private SQ",
        "nested",
        "fragments",
        "kept SQ",
        "kept UN",
        "kept UN of known length",
        "group",
        "stray end",
    ],
)
@pytest.mark.usefixtures("pixels_unseen")
def test_unusual_explicit_elements_are_walked_over(tmp_path, inserted):
    copy = deidentified(tmp_path, inserted)
    assert SECRET not in copy.read_bytes()
    assert dcmread(copy).SliceThickness == 5


def test_a_kept_sequence_of_vr_un_is_written_as_a_sequence(tmp_path):
    inserted = b"\x18\0\x12\0UN\0\0" + UNDEFINED + undefined(IMPLICIT_NAME + KVP_IMPLICIT)
    copy = dcmread(deidentified(tmp_path, inserted))
    assert copy["ContrastBolusAgentSequence"].VR == "SQ"
    assert copy.ContrastBolusAgentSequence[0].KVP == 140
    assert copy.ContrastBolusAgentSequence[0].PatientName == ""


@pytest.mark.parametrize(
    "inserted",
    [
        b"\x11\0\x10\x10" + UNDEFINED + undefined(IMPLICIT_NAME),
        b"\x11\0\x10\x10\x08\0\0\0" + SECRET,
        b"\x18\0\x12\0" + UNDEFINED + undefined(IMPLICIT_NAME),
    ],
    ids=["private undefined", "private", "kept"],
)
def test_unusual_implicit_elements_are_walked_over(tmp_path, inserted):
    copy = deidentified(tmp_path, inserted, ImplicitVRLittleEndian)
    assert SECRET not in copy.read_bytes()
    assert dcmread(copy).SliceThickness == 5


@pytest.mark.parametrize(
    "inserted",
    [
        b"\x11\0\x10\x10ZZ\x08\0" + SECRET,
        b"\x11\0\x10\x10SQ\0\0" + UNDEFINED + SECRET,
        b"\x11\0\x10\x10SQ\0\0" + UNDEFINED + ITEM + b"\xff\xff\0\0",
        b"\x11\0\x10\x10SQ\0\0" + UNDEFINED + ITEM + UNDEFINED + EXPLICIT_NAME,
        b"\x11\0\x10\x10LT\xff\xff" + SECRET,
        b"\x18\0\x12\0SQ\0\0\x08\0\0\0" + SECRET,
        (b"\x11\0\x10\x10SQ\0\0" + UNDEFINED + ITEM + UNDEFINED) * 3000,
    ],
    ids=["vr", "no item", "long item", "no end", "long value", "no items", "too deep"],
)
def test_bytes_that_are_no_data_set_are_refused(tmp_path, inserted):
    with pytest.raises(DeidentificationRefused) as refused:
        deidentified(tmp_path, inserted)
    assert refused.value.code == "unreadable_instance"
    assert "Zq" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Zqsecret, no DICOM at all" * 20,
        bytes(128) + b"DICM",
        bytes(128) + b"DICM" + encode(0x00020010, "UI", b"1.2.3.4", EXPLICIT_LITTLE),
        bytes(128) + b"DICM" + encode(0x00020010, "UI", b"1.2.840.10008.1.2.1.99", EXPLICIT_LITTLE) + b"\xff" * 20,
    ],
    ids=["empty", "text", "no meta", "private transfer syntax", "not deflated"],
)
def test_files_that_are_not_dicom_are_refused(tmp_path, content):
    with pytest.raises(DeidentificationRefused) as refused:
        deidentify_series(received(tmp_path / "in", [content]), tmp_path / "out", KEYS)
    assert refused.value.code == "unreadable_instance"


def test_a_deflated_data_set_of_absurd_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(elements, "_LARGEST_INFLATED_BYTES", 1 << 16)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    meta = encode(0x00020010, "UI", b"1.2.840.10008.1.2.1.99", EXPLICIT_LITTLE)
    content = bytes(128) + b"DICM" + meta + deflate.compress(bytes(1 << 20)) + deflate.flush()
    with pytest.raises(DeidentificationRefused, match="absurd"):
        deidentify_series(received(tmp_path / "in", [content]), tmp_path / "out", KEYS)


@pytest.mark.parametrize("cut", [b"", b"\xfe\xff\xdd\xe0\0\0\0\0"], ids=["no delimiter", "complete"])
def test_encapsulated_pixel_data_without_an_end_are_passed_on(tmp_path, cut):
    dataset = ct_slice()
    dataset.compress("1.2.840.10008.1.2.5")
    path = received(tmp_path / "in", [dataset]).instances[0].path
    content = path.read_bytes()[:-8] + cut
    series = received(tmp_path / "in", [content])
    copies, _ = deidentify_series(series, tmp_path / "out", KEYS)
    start = content.index(b"\xe0\x7f\x10\x00OB")
    assert copies.files[0].read_bytes().endswith(content[start:])


def test_fragments_that_are_none_are_refused(tmp_path):
    dataset = ct_slice()
    dataset.compress("1.2.840.10008.1.2.5")
    path = received(tmp_path / "in", [dataset]).instances[0].path
    content = path.read_bytes()[:-8] + b"Zqsecret" * 3
    with pytest.raises(DeidentificationRefused) as refused:
        deidentify_series(received(tmp_path / "in", [content]), tmp_path / "out", KEYS)
    assert refused.value.code == "unreadable_instance"


def test_an_enhanced_multi_frame_keeps_its_functional_groups(tmp_path):
    frames = []
    for number in range(1, 40):
        position, content, frame_type = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-10, -10, 5 * number]
        content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", number, [1, number]
        content.FrameComments, content.FrameReferenceDateTime = "Zqsecret", "20220401101112"
        frame_type.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        group = Dataset()
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.CTImageFrameTypeSequence = [frame_type]
        frames.append(group)
    shared, measures, orientation, transformation = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.5], "5"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = "1", "-1024", "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [transformation]
    dataset = ct_slice(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", SliceThickness=None, PixelSpacing=None)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = dataset.PixelData * len(frames)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    copies, _ = deidentify_series(received(tmp_path / "in", [dataset]), tmp_path / "out", KEYS)
    copy = dcmread(copies.files[0])
    assert b"Zqsecret" not in copies.files[0].read_bytes()
    assert copy.PixelData == dataset.PixelData
    assert "SliceThickness" not in copy
    groups = copy.PerFrameFunctionalGroupsSequence
    assert [g.PlanePositionSequence[0].ImagePositionPatient[2] for g in groups] == [5 * n for n in range(1, 40)]
    assert groups[6].FrameContentSequence[0].DimensionIndexValues == [1, 7]
    assert groups[6].FrameContentSequence[0].StackID == "1"
    assert groups[6].FrameContentSequence[0].FrameReferenceDateTime == copy.StudyDate + "101112"
    assert "FrameComments" not in groups[6].FrameContentSequence[0]
    assert list(groups[6].CTImageFrameTypeSequence[0].FrameType) == ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    assert copy.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.5]
    assert copy.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType == "HU"
