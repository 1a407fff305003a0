"""Nothing looks like text in real chest CT or in phantoms: in none of their frames, were they all looked at."""

import tarfile
from io import BytesIO

import pytest
from drawn_text import NAME, glyphs
from pydicom import dcmread
from pydicom.data import get_testdata_file
from test_real_series import REAL_SERIES, SERIES

from covnode.imaging.text import find_text
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset


@pytest.fixture(params=SERIES)
def real_frames(request):
    archive = REAL_SERIES / f"{request.param}.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is not there: the real series are not part of this repository")
    with tarfile.open(archive) as members:
        return [
            dcmread(BytesIO(members.extractfile(member).read())).pixel_array for member in members if member.isfile()
        ]


def test_no_frame_of_a_real_series_looks_like_text(real_frames):
    assert [number for number, frame in enumerate(real_frames) if find_text(frame)] == []


def test_a_name_is_found_in_every_third_frame_of_a_real_series(real_frames):
    drawn = glyphs(NAME, 14)
    for frame in real_frames[::3]:
        marked = frame.copy()
        marked[8 : 8 + drawn.shape[0], 8 : 8 + drawn.shape[1]][drawn > 0.5] = 4095
        assert any(box.top < 30 and box.left < 300 for box in find_text(marked))


@pytest.mark.parametrize("preset", PhantomPreset)
def test_no_frame_of_a_phantom_looks_like_text(preset, tmp_path):
    phantom = make_phantom(preset, slices=12, seed=1)
    frames = [dcmread(path).pixel_array for path in write_phantom(phantom, tmp_path).dicom]
    assert [number for number, frame in enumerate(frames) if find_text(frame)] == []


@pytest.mark.parametrize("name", ["CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "MR_small.dcm"])
def test_no_frame_that_pydicom_ships_looks_like_text(name):
    try:
        pixels = dcmread(get_testdata_file(name)).pixel_array
    except (RuntimeError, NotImplementedError, ValueError):
        pytest.skip("pydicom has no decoder for it here")
    assert find_text(pixels) == ()


def test_a_picture_that_shows_text_is_seen():
    """An ultrasound image among pydicom's files, whose screen has labels."""
    assert find_text(dcmread(get_testdata_file("examples_palette.dcm")).pixel_array)
