"""The archive's CT series and pydicom's own awkward files."""

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pydicom.data
import pytest
from planted import KEYS, received
from pydicom import dcmread
from pydicom.dataset import Dataset

from covnode.deidentify.engine import deidentify_series
from covnode.errors import DeidentificationRefused
from covnode.records.series import ReceivedInstance, ReceivedSeries

ARCHIVE = Path(__file__).parents[4] / "shared" / "data" / "lung-pet-ct-dx"
SERIES = ["A0001-philips-B-5mm", "A0001-philips-L-5mm", "A0002-siemens-B40f-8mm", "A0002-siemens-B70f-8mm"]
TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"
SLICES = 5
NEEDED = """
    ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness RescaleSlope RescaleIntercept Rows Columns
    ConvolutionKernel KVP Manufacturer ManufacturerModelName PatientPosition ImageType Modality InstanceNumber
    BitsStored PixelRepresentation
"""


@pytest.fixture(params=SERIES)
def real_series(request, tmp_path):
    archive = ARCHIVE / f"{request.param}.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is not there: the real series are not part of this repository")
    contents = []
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and len(contents) < SLICES:
                contents.append(members.extractfile(member).read())
    return received(tmp_path / "in", contents)


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
    said = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    return {line.split("=")[0] for line in lines if line.startswith("Error")}


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_the_copy_has_no_error_that_the_original_had_not(real_series, tmp_path):
    deidentified, _ = deidentify_series(real_series, tmp_path / "out", KEYS)
    by_digest = {i.content_digest: i.path for i in real_series.instances}
    assert errors_of(deidentified.files[0]) <= errors_of(by_digest[min(by_digest)])


def test_pydicoms_test_files_pass_with_their_pixels_or_are_refused(tmp_path):
    """No traceback on any of them; every copy has the pixels of its original and none of its names."""
    outcomes = {}
    for number, path in enumerate(sorted(TEST_FILES.rglob("*"))):
        if not path.is_file() or path.stat().st_size > 1_000_000:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        series = ReceivedSeries("s", 1, (ReceivedInstance(path, digest),))
        try:
            copies, _ = deidentify_series(series, tmp_path / str(number), KEYS)
        except DeidentificationRefused as refused:
            outcomes[path.name] = refused.code
            continue
        outcomes[path.name] = "copied"
        original, copy = dcmread(path), dcmread(copies.files[0])
        assert copy.get("PixelData") == original.get("PixelData"), path.name
        assert_nothing_survives(original, copies.files[0].read_bytes())
    assert outcomes["CT_small.dcm"] == outcomes["MR_small_bigendian.dcm"] == "copied"
    assert outcomes["SC_rgb_rle.dcm"] == "secondary_capture"
    assert outcomes["no_meta.dcm"] == "unreadable_instance"
    assert {name for name, outcome in outcomes.items() if outcome == "identity_left"} == {"rtplan.dcm"}
    assert list(outcomes.values()).count("copied") > 60


def assert_nothing_survives(original: Dataset, content: bytes):
    header = content.split(b"\xe0\x7f\x10\x00")[0].lower()
    for keyword in ("PatientName", "PatientID", "InstitutionName", "AccessionNumber", "StudyInstanceUID"):
        value = str(original.get(keyword) or "").lower().encode()
        by_the_device = (
            value in f"{original.get('Manufacturer')} {original.get('ManufacturerModelName')}".lower().encode()
        )
        assert len(value) < 5 or by_the_device or value not in header, keyword
