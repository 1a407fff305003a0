"""Text drawn into pixels is found, or masked, in whatever form they come; slices without text pass."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from drawn_text import AIR, BONE, NAME, SIZE, TISSUE, body, glyphs, slice_of, write_over
from planted import KEYS, received
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from covnode.deidentify import burned_in
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.options import BurnedInText
from covnode.deidentify.profile import node_profile
from covnode.errors import DeidentificationRefused
from covnode.imaging.text import find_text
from covnode.sections import DeidentifySettings

WHITE = 4095
DERIVED = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}


def deidentified(tmp_path, slices, policy=BurnedInText.QUARANTINE):
    profile = replace(node_profile(), burned_in_text=policy)
    series, _ = deidentify_series(received(tmp_path / "in", slices), tmp_path / "out", KEYS, profile)
    return [dcmread(file) for file in series.files]


def refusal(tmp_path, slices, policy=BurnedInText.QUARANTINE):
    with pytest.raises(DeidentificationRefused) as refused:
        deidentified(tmp_path, slices, policy)
    assert not (tmp_path / "out").exists()
    assert NAME.split(",")[0] not in str(refused.value)
    return refused.value


def planted(**form):
    place = {key: form.pop(key) for key in ("value", "at") if key in form}
    return write_over(body(), glyphs(**form), place.get("value", WHITE), place.get("at", (6, 6)))


FORMS = {
    "white in air": {},
    "grey in air": {"value": 500},
    "faint in air": {"value": AIR + 110},
    "white on tissue": {"at": (120, 40)},
    "window's white on tissue": {"value": TISSUE + 300, "at": (120, 40)},
    "black on tissue": {"value": 0, "at": (120, 40)},
    "of 8 pixels": {"height": 8, "antialiased": False},
    "of 40 pixels": {"height": 40, "text": "HANS 1957"},
    "not antialiased": {"antialiased": False},
    "at the upper border": {"at": (0, 0)},
    "at the lower border": {"at": (-1, -1)},
    "turned": {"turned": True},
    "a date": {"text": "1957-03-12"},
    "an id": {"text": "4711081"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("attributes", [{}, DERIVED], ids=["ordinary", "derived"])
def test_planted_text_holds_the_series_back(tmp_path, form, attributes):
    assert refusal(tmp_path, [slice_of(planted(**form), **attributes)]).code == "burned_in_text"


def test_a_blind_detector_lets_planted_text_through(tmp_path, monkeypatch):
    monkeypatch.setattr(burned_in, "find_text", lambda frame: ())
    assert len(deidentified(tmp_path, [slice_of(planted())])) == 1


def test_slices_without_text_pass(tmp_path):
    noisy = [slice_of(body(seed, noise), seed) for seed, noise in enumerate((0, 5, 15, 60, 120), start=1)]
    assert len(deidentified(tmp_path, noisy)) == 5


@pytest.mark.parametrize(
    "transfer_syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.keyword,
)
def test_text_is_found_in_native_pixels(tmp_path, transfer_syntax):
    dataset = slice_of(planted(), transfer_syntax=transfer_syntax)
    if transfer_syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    assert refusal(tmp_path, [dataset]).code == "burned_in_text"


@pytest.mark.parametrize("transfer_syntax", [JPEGLSLossless, RLELossless], ids=lambda uid: uid.keyword)
def test_text_is_found_in_compressed_pixels(tmp_path, transfer_syntax):
    dataset = slice_of(planted())
    dataset.compress(transfer_syntax)
    assert refusal(tmp_path, [dataset]).code == "burned_in_text"


def test_text_is_found_in_eight_bits_and_in_monochrome1(tmp_path):
    assert refusal(tmp_path / "8", [slice_of(planted(), bits=8)]).code == "burned_in_text"
    inverted = slice_of(WHITE - planted(), PhotometricInterpretation="MONOCHROME1")
    assert refusal(tmp_path / "1", [inverted]).code == "burned_in_text"


def test_the_frame_is_named_by_our_numbers_and_the_place_in_per_cent(tmp_path):
    frames = np.stack([body(1), body(2), planted(at=(-1, 6)), body(3)])
    dataset = slice_of(frames, SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=4, **DERIVED)
    said = str(refusal(tmp_path, [dataset]))
    assert "frame 3 of image 1, 2 to " in said
    assert "to 100 % from the top" in said


def test_of_an_ordinary_series_the_middle_frame_is_looked_at(tmp_path, monkeypatch):
    looked_at = []
    monkeypatch.setattr(burned_in, "find_text", lambda frame: looked_at.append(frame) or ())
    deidentified(tmp_path, [slice_of(body(number), number) for number in range(1, 9)])
    assert len(looked_at) == 1
    looked_at.clear()
    deidentified(tmp_path, [slice_of(body(number), number, **DERIVED) for number in range(1, 9)])
    assert len(looked_at) == 8


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"ImageType": None},
        {"ConversionType": "WSD"},
        {"RecognizableVisualFeatures": "YES"},
        {"Modality": "OT"},
        {"PhotometricInterpretation": "MONOCHROME1"},
    ],
)
def test_each_frame_of_what_is_suspicious_is_looked_at(tmp_path, attributes):
    slices = [slice_of(body(number), number, **attributes) for number in range(1, 6)]
    order = sorted(range(5), key=lambda n: received(tmp_path / "order", [slices[n]]).instances[0].content_digest)
    slices[order[1]] = slice_of(planted(), order[1] + 1, **attributes)
    assert refusal(tmp_path, slices).code == "burned_in_text"


def test_a_picture_in_colour_is_refused_unseen(tmp_path):
    assert refusal(tmp_path, [slice_of(body(), PhotometricInterpretation="RGB")]).code == "burned_in_text"


@pytest.mark.parametrize("spoil", [lambda data: data[:-2], lambda data: data + b"\0\0"], ids=["short", "long"])
def test_what_cannot_be_decoded_is_refused(tmp_path, spoil):
    dataset = slice_of(body())
    dataset.PixelData = spoil(dataset.PixelData)
    assert refusal(tmp_path, [dataset]).code == "pixel_data_unreadable"


def test_a_number_of_frames_that_two_readers_read_differently_is_refused(tmp_path):
    dataset = slice_of(np.stack([body(), planted()]))
    dataset.add_new("NumberOfFrames", "IS", b"2.0 ")
    assert refusal(tmp_path, [dataset]).code == "pixel_data_unreadable"


def test_the_setting_names_the_policies():
    setting = DeidentifySettings.model_fields["burned_in_text"]
    assert {policy.value for policy in BurnedInText} == set(get_args(setting.annotation))
    assert BurnedInText(setting.default) is BurnedInText.QUARANTINE


class TestMasking:
    """``burned_in_text = "mask"``."""

    @pytest.mark.parametrize("transfer_syntax", [None, JPEGLSLossless, RLELossless])
    @pytest.mark.parametrize("at", [(6, 6), (120, 40)], ids=["in air", "over the body"])
    def test_text_goes_and_every_other_pixel_stays(self, tmp_path, transfer_syntax, at):
        before, drawn = planted(at=at), glyphs()
        dataset = slice_of(before)
        if transfer_syntax:
            dataset.compress(transfer_syntax)
        (copy,) = deidentified(tmp_path, [dataset], BurnedInText.MASK)
        after = copy.pixel_array
        assert find_text(after) == ()
        text = np.zeros(before.shape, bool)
        text[at[0] : at[0] + drawn.shape[0], at[1] : at[1] + drawn.shape[1]] = drawn > 0
        assert (after[text] == before.min()).all()
        changed = np.argwhere(after != before)
        (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
        assert top >= at[0] - 24
        assert left >= at[1] - 24
        assert bottom <= at[0] + drawn.shape[0] + 24
        assert right <= at[1] + drawn.shape[1] + 24
        assert copy.file_meta.TransferSyntaxUID.is_compressed is False

    def test_the_copy_says_so(self, tmp_path):
        (copy,) = deidentified(tmp_path, [slice_of(planted(), BurnedInAnnotation="YES")], BurnedInText.MASK)
        assert copy.BurnedInAnnotation == "NO"
        assert "113101" in [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]

    def test_a_series_without_text_is_as_it_was(self, tmp_path):
        dataset = slice_of(body())
        (copy,) = deidentified(tmp_path, [dataset], BurnedInText.MASK)
        assert copy.PixelData == dataset.PixelData
        assert "BurnedInAnnotation" not in copy
        assert "113101" not in [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]

    def test_what_is_found_in_one_slice_is_masked_in_all(self, tmp_path, monkeypatch):
        slices = [slice_of(write_over(body(n), glyphs(), WHITE), n) for n in range(1, 5)]
        found = find_text(planted())
        asked = iter([found, found])
        monkeypatch.setattr(burned_in, "find_text", lambda frame: next(asked, ()))
        for copy in deidentified(tmp_path, slices, BurnedInText.MASK):
            assert find_text(copy.pixel_array) == ()
            assert copy.pixel_array.max() < WHITE

    def test_padding_is_written_where_the_image_has_it(self, tmp_path):
        values = planted()
        values[-4:] = 3
        (copy,) = deidentified(tmp_path, [slice_of(values, PixelPaddingValue=3)], BurnedInText.MASK)
        assert copy.pixel_array[6 + 4, 6 + 4] == 3

    def test_each_frame_of_a_multi_frame_is_masked(self, tmp_path):
        frames = np.stack([write_over(body(n), glyphs(), WHITE) for n in range(3)])
        dataset = slice_of(frames, SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=3, **DERIVED)
        (copy,) = deidentified(tmp_path, [dataset], BurnedInText.MASK)
        assert copy.pixel_array.max() <= BONE + 100
        assert copy.pixel_array.shape == (3, SIZE, SIZE)

    def test_text_that_is_said_but_not_found_is_refused(self, tmp_path):
        said = refusal(tmp_path, [slice_of(body(), BurnedInAnnotation="YES")], BurnedInText.MASK)
        assert said.code == "burned_in_text"

    def test_text_left_after_masking_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(burned_in, "_with_margin", lambda box, shape: box._replace(right=box.left + 1))
        assert refusal(tmp_path, [slice_of(planted())], BurnedInText.MASK).code == "burned_in_text"

    def test_a_picture_of_a_screen_is_refused_all_the_same(self, tmp_path):
        screen = slice_of(planted(), ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
        assert refusal(tmp_path, [screen], BurnedInText.MASK).code == "burned_in_text"
