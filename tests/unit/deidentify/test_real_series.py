"""The archive's CT series: pixels and geometry stay, the identity goes, and no error against the standard comes."""

import re
import shutil
import subprocess
import tarfile
from io import BytesIO

import pytest
from planted import KEYS, ct_slice, received
from processes import REAL_SERIES
from pydicom import dcmread, dcmwrite

from covnode.deidentify.engine import deidentify_series
from covnode.learn.phantom import Layout, PhantomPreset, make_phantom, write_phantom

SERIES = ["A0001-philips-B-5mm", "A0001-philips-L-5mm", "A0002-siemens-B40f-8mm", "A0002-siemens-B70f-8mm"]
SLICES = 5
SEED_WITH_CONTRAST = 4
NEEDED = """
    ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness RescaleSlope RescaleIntercept Rows Columns
    ConvolutionKernel KVP Manufacturer ManufacturerModelName PatientPosition ImageType Modality InstanceNumber
    BitsStored PixelRepresentation
"""
needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed: run tests/install_peers.sh"
)


@pytest.fixture(params=SERIES)
def real_series(request, tmp_path):
    archive = REAL_SERIES / f"{request.param}.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is not there: the real series are not part of this repository")
    with tarfile.open(archive) as members:
        contents = [members.extractfile(member).read() for member in members if member.isfile()]
    contents.sort(key=lambda content: int(dcmread(BytesIO(content), stop_before_pixels=True).InstanceNumber))
    last = len(contents) - 1
    return received(tmp_path / "in", [contents[last * number // (SLICES - 1)] for number in range(SLICES)])


def test_real_series_pass_and_keep_pixels_and_geometry(real_series, tmp_path):
    deidentified, identity = deidentify_series(real_series, tmp_path / "out", KEYS)
    originals = {i.content_digest: dcmread(i.path) for i in real_series.instances}
    assert len(deidentified.files) == SLICES
    for digest, file in zip(sorted(originals), deidentified.files, strict=True):
        original, copy = originals[digest], dcmread(file)
        assert copy.PixelData == original.PixelData
        for keyword in NEEDED.split():
            assert copy.get(keyword) == original.get(keyword), keyword
        assert identity.uid_map[copy.SOPInstanceUID] == original.SOPInstanceUID
        assert "Lung_Dx" not in str(copy)
        assert "14519" not in str(copy)
    assert identity.attributes["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": str(original.PatientName)}]}


def errors_of(file):
    """Errors of dciodvfy, each with its place, without the value it quotes."""
    said = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True, errors="replace", check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert any("CTImage" in line for line in lines), "it must know what it judges"
    return {re.sub(r"= <.*?>", "", line) for line in lines if line.startswith("Error")}


def assert_no_new_errors(series, files):
    by_digest = {instance.content_digest: instance.path for instance in series.instances}
    for digest, file in zip(sorted(by_digest), files, strict=True):
        assert errors_of(file) <= errors_of(by_digest[digest])


@pytest.mark.peer
@needs_dciodvfy
def test_the_copies_have_no_error_that_their_originals_had_not(real_series, tmp_path):
    """The first and the last instance, the middle one and two more."""
    deidentified, _ = deidentify_series(real_series, tmp_path / "out", KEYS)
    assert_no_new_errors(real_series, deidentified.files)


@pytest.mark.peer
@needs_dciodvfy
@pytest.mark.parametrize("seed", [1, SEED_WITH_CONTRAST])
def test_the_copies_of_a_phantom_have_no_error(tmp_path, seed):
    phantom = make_phantom(PhantomPreset.COVID_MILD, seed=seed, slices=3, size=48)
    written = write_phantom(phantom, tmp_path / "phantom").dicom
    series = received(tmp_path / "in", [path.read_bytes() for path in written])
    deidentified, _ = deidentify_series(series, tmp_path / "out", KEYS)
    assert_no_new_errors(series, deidentified.files)
    assert not errors_of(deidentified.files[0])


@pytest.mark.peer
@needs_dciodvfy
@pytest.mark.parametrize("seed", [1, SEED_WITH_CONTRAST])
def test_the_copy_of_an_enhanced_phantom_lacks_only_which_contrast_agent_it_was(tmp_path, seed):
    """That there was one is kept as an item without its code, amount and route: none of them is needed."""
    phantom = make_phantom(PhantomPreset.COVID_MILD, seed=seed, slices=3, size=48)
    written = write_phantom(phantom, tmp_path / "phantom", layout=Layout(enhanced=True)).dicom
    series = received(tmp_path / "in", [path.read_bytes() for path in written])
    deidentified, _ = deidentify_series(series, tmp_path / "out", KEYS)
    errors = errors_of(deidentified.files[0]) - errors_of(series.instances[0].path)
    assert all("</ContrastBolusAgentSequence(0018,0012)" in error for error in errors)
    assert bool(errors) is (seed == SEED_WITH_CONTRAST)


@pytest.mark.peer
@needs_dciodvfy
def test_dciodvfy_does_find_an_error_in_a_copy_without_rows(tmp_path):
    deidentified, _ = deidentify_series(received(tmp_path / "in", [ct_slice()]), tmp_path / "out", KEYS)
    copy = dcmread(deidentified.files[0])
    before = errors_of(deidentified.files[0])
    del copy.Rows
    dcmwrite(deidentified.files[0], copy)
    assert any("Rows" in error for error in errors_of(deidentified.files[0]) - before)
