"""Compressed slices, made by DCMTK, pydicom and imagecodecs, come out bit for bit; damaged ones are refused."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from stored_ct import series_of

from covnode.errors import PixelDataUnreadable
from covnode.volume.headers import read_frames
from covnode.volume.loading import load_volume
from covnode.volume.pixels import read_frame_hu

JPEG2000_OPTIONS = {"level": 0, "codecformat": "j2k", "bitspersample": 12}
ENCODERS = {
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, **JPEG2000_OPTIONS),
    uid.HTJ2KLossless: imagecodecs.htj2k_encode,
    uid.HTJ2KLosslessRPCL: imagecodecs.htj2k_encode,
    uid.JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=12, predictor=1),
    uid.JPEGLossless: lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=12, predictor=6),
}


def compress(transfer_syntax_uid, *, signed=False, fragments=1, spoil=lambda data: data):
    """A change of Recipe that stores the pixels in a transfer syntax."""

    def change(dataset, index):
        pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
        if signed:
            pixels = pixels.astype(np.int16) - 1024
            dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
            if transfer_syntax_uid not in (uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL):
                pixels = pixels.view(np.uint16) & 0x0FFF  # JPEG and JPEG-LS know no sign: 12 bits of two's complement
        data = spoil(bytes(ENCODERS[transfer_syntax_uid](pixels)))
        dataset.PixelData = encapsulate([data], fragments_per_frame=fragments)
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid

    return change


def add_noise(dataset, index):
    pixels = np.frombuffer(dataset.PixelData, "<u2")
    noise = np.random.default_rng(index).integers(0, 200, pixels.shape)
    dataset.PixelData = (pixels + noise).astype("<u2").tobytes()


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("transfer_syntax_uid", ENCODERS, ids=lambda value: value.name)
def test_lossless_codecs_give_the_same_volume(make_series, transfer_syntax_uid, signed, fragments):
    change = compress(transfer_syntax_uid, signed=signed, fragments=fragments)
    found = load_volume(make_series(count=3, change=change), min_slices=3)
    expected = load_volume(make_series(count=3), min_slices=3)
    np.testing.assert_array_equal(found.voxels_hu, expected.voxels_hu)


@pytest.mark.parametrize("transfer_syntax_uid", ENCODERS, ids=lambda value: value.name)
def test_a_truncated_codestream_is_refused(make_series, transfer_syntax_uid):
    change = compress(transfer_syntax_uid, spoil=lambda data: data[: len(data) * 2 // 3])
    with pytest.raises(PixelDataUnreadable, match=r"instance \d+: .*truncated"):
        load_volume(make_series(change=change))


@pytest.mark.parametrize(
    "transfer_syntax_uid", [uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless], ids=lambda value: value.name
)
def test_a_codestream_without_its_second_half_is_refused(make_series, transfer_syntax_uid):
    cut = compress(transfer_syntax_uid, spoil=lambda data: data[: len(data) // 2] + b"\xff\xd9")

    def change(dataset, index):
        add_noise(dataset, index)
        cut(dataset, index)

    with pytest.raises(PixelDataUnreadable, match=r"instance \d+: .*damaged"):
        load_volume(make_series(rows=64, columns=60, change=change))


def test_another_size_than_the_header_says_is_refused(make_series):
    def change(dataset, index):
        compress(uid.JPEGLSLossless)(dataset, index)
        dataset.Rows, dataset.Columns = 12, 10

    with pytest.raises(PixelDataUnreadable, match=r"10 x 12, the header says 12 x 10"):
        load_volume(make_series(change=change))


def test_no_frame_at_all_is_refused(make_series):
    def change(dataset, index):
        dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0"  # an empty offset table, and no fragment
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = uid.JPEGLSLossless

    with pytest.raises(PixelDataUnreadable):
        load_volume(make_series(change=change))


def test_native_pixels_under_a_compressed_syntax_are_refused(make_series):
    series = make_series()
    for path in series.files:
        # the syntax of the file meta only: what a careless converter leaves behind
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    with pytest.raises(PixelDataUnreadable, match="not stored as the transfer syntax says"):
        load_volume(series)


DCMTK = {
    "JPEG lossless": ["dcmcjpeg"],
    **{f"JPEG lossless, predictor {n}": ["dcmcjpeg", "+el", "+sv", str(n)] for n in range(1, 8)},
    "JPEG-LS": ["dcmcjpls"],
    "RLE": ["dcmcrle"],
    "big endian": ["dcmconv", "+tb"],
    "deflated": ["dcmconv", "+td"],
    "implicit": ["dcmconv", "+ti"],
    "sequences of undefined length": ["dcmconv", "-e"],
    "fragments of 1 kB": ["dcmcjpeg", "+fs", "1"],
}


def converted(series, folder, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"DCMTK's {command[0]} is not installed")
    for path in series.files:
        subprocess.run([*command, path, folder / path.name], check=True, capture_output=True)
    return series_of(folder)


@pytest.mark.peer
@pytest.mark.parametrize("command", DCMTK.values(), ids=DCMTK.keys())
@pytest.mark.parametrize("signed", [False, True])
def test_what_dcmtk_stores_gives_the_same_volume(make_series, tmp_path, command, signed):
    def change(dataset, index):
        add_noise(dataset, index)
        if signed:
            dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
            dataset.PixelData = (np.frombuffer(dataset.PixelData, "<i2") - 1024).tobytes()

    series = make_series(count=3, rows=64, columns=60, change=change)
    volume = load_volume(converted(series, tmp_path, command), min_slices=3)
    np.testing.assert_array_equal(volume.voxels_hu, load_volume(series, min_slices=3).voxels_hu)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("command", "back", "tolerance_hu"),
    [
        (["dcmcjpls", "+en", "+md", "2"], ["dcmdjpls"], 0),
        # Two inverse transforms of lossy JPEG may round differently; DCMTK widens 12 bits to the window it is given.
        (["dcmcjpeg", "+ee", "+q", "98"], ["dcmdjpeg"], 1),
    ],
    ids=["near-lossless JPEG-LS", "12 bit JPEG"],
)
def test_lossy_frames_are_decoded_as_dcmtk_decodes_them(make_series, tmp_path, command, back, tolerance_hu):
    compressed, restored = tmp_path / "compressed", tmp_path / "restored"
    compressed.mkdir()
    restored.mkdir()
    series = converted(make_series(count=3, rows=32, columns=40), compressed, command)
    found = load_volume(series, min_slices=3)
    expected = load_volume(converted(series, restored, back), min_slices=3)
    difference = np.abs(found.voxels_hu.astype(int) - expected.voxels_hu)
    assert difference.max() <= tolerance_hu
    assert np.ptp(found.voxels_hu) > 100


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEG2000.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "CT_small.dcm",
        "image_dfl.dcm",
    ],
)
def test_pydicoms_test_images_are_decoded_as_pydicom_does(name):
    path = Path(get_testdata_file(name, download=False))
    dataset = pydicom.dcmread(path)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    expected = dataset.pixel_array * slope + intercept
    padding = dataset.get("PixelPaddingValue")
    if padding is not None:
        expected[dataset.pixel_array == padding] = -1024
    [frame] = read_frames([path])
    frame = dataclasses.replace(frame, rescale=(slope, intercept))
    np.testing.assert_array_equal(read_frame_hu(frame), np.clip(np.rint(expected), -1024, 32767))


def test_the_bytes_of_a_delimiter_inside_a_codestream_do_not_end_it(make_series):
    comment = b"\xff\xfe\x00\x0a" + b"\xfe\xff\xdd\xe0\0\0\0\0"  # a JPEG comment with a Sequence Delimitation Item
    change = compress(uid.JPEGLSLossless, spoil=lambda data: data[:2] + comment + data[2:])
    np.testing.assert_array_equal(
        load_volume(make_series(change=change)).voxels_hu, load_volume(make_series()).voxels_hu
    )
