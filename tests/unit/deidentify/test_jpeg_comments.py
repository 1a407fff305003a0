"""A name in a comment of compressed pixels: the copy is refused, since the pixels are passed on as they came."""

import struct

import pytest
from planted import KEYS, ct_slice, received
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from covnode.deidentify.engine import deidentify_series
from covnode.errors import DeidentificationRefused

pytestmark = pytest.mark.usefixtures("pixels_unseen")

START = {JPEGBaseline8Bit: b"\xff\xd8", JPEGLSLossless: b"\xff\xd8", JPEG2000Lossless: b"\xff\x4f"}
REST = {JPEGBaseline8Bit: b"\xff\xda", JPEGLSLossless: b"\xff\xda", JPEG2000Lossless: b"\xff\x90"}


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def compressed(transfer_syntax, *segments, frames=1):
    """A slice whose last frame has marker segments; what follows the header is no picture, and nobody decodes it."""
    rest = REST[transfer_syntax] + bytes(range(64))
    plain = START[transfer_syntax] + segment(0x51, bytes(12)) + rest
    last = START[transfer_syntax] + b"".join(segments) + rest
    dataset = ct_slice(transfer_syntax=transfer_syntax)
    dataset.PixelData = encapsulate([*[plain] * (frames - 1), last])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.NumberOfFrames = frames
    return dataset


def copied(tmp_path, dataset):
    series, _ = deidentify_series(received(tmp_path / "in", [dataset]), tmp_path / "out", KEYS)
    return dcmread(series.files[0])


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(
    ("transfer_syntax", "marker"),
    [(JPEGBaseline8Bit, 0xFE), (JPEGBaseline8Bit, 0xE1), (JPEGLSLossless, 0xFE), (JPEG2000Lossless, 0x64)],
)
def test_a_name_in_a_comment_is_refused(tmp_path, transfer_syntax, marker, frames):
    segments = [segment(0x51, bytes(12)), b"\xff" * (frames - 1) + segment(marker, b"patient MRN-443-221")]
    with pytest.raises(DeidentificationRefused) as refused:
        copied(tmp_path, compressed(transfer_syntax, *segments, frames=frames))
    assert refused.value.code == "identity_left"
    assert "MRN" not in str(refused.value)


@pytest.mark.parametrize("transfer_syntax", START, ids=lambda uid: uid.keyword)
def test_a_comment_that_names_nobody_passes_with_its_pixels(tmp_path, transfer_syntax):
    dataset = compressed(transfer_syntax, segment(0xE0, b"JFIF\0"), segment(0xFE, b"made by a codec"))
    assert copied(tmp_path, dataset).PixelData == dataset.PixelData


@pytest.mark.parametrize("cut", [b"", b"\xff", b"\xff\xfe", b"\xff\xfe\0\0", b"\xff\xfe\xff\xffshort"])
def test_a_broken_header_is_passed_on(tmp_path, cut):
    dataset = compressed(JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([b"\xff\xd8" + cut])
    assert copied(tmp_path, dataset).PixelData == dataset.PixelData


def test_other_fragments_are_not_searched(tmp_path):
    dataset = ct_slice()
    dataset.compress(RLELossless)
    assert copied(tmp_path, dataset).PixelData == dataset.PixelData
