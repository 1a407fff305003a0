import pytest
from pydicom import dcmread
from scanner_series import CORONAL, scanned, write

from covnode.choose.facts import SpooledFile, facts_of
from covnode.errors import TransientError
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import Layout, write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.arrival import SliceFacts

KEYWORDS = {"Modality", "ImageType", "SliceThickness", "ConvolutionKernel", "SOPClassUID", "PatientAge"}


def test_extent_and_values_of_an_axial_series(tmp_path):
    facts = facts_of(write(scanned(60, 5.0, PatientAge="018M"), tmp_path), KEYWORDS)
    assert facts.headers_read == 3
    assert facts.values["axial"] == (True,)
    assert facts.values["slices"] == (60.0,)
    assert facts.values["coverage_mm"] == pytest.approx((295.0,))
    assert facts.values["spacing_mm"] == pytest.approx((5.0,))
    assert facts.values["SliceThickness"] == (5.0,)
    assert facts.values["SOPClassUID"] == ("CTImageStorage",)
    assert facts.values["PatientAge"] == pytest.approx((1.5,))
    assert facts.values["ImageType"] == ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI")


def test_a_coronal_series_is_not_axial(tmp_path):
    assert facts_of(write(scanned(orientation=CORONAL), tmp_path), KEYWORDS).values["axial"] == (False,)


def test_a_localizer_in_front_of_the_slices_is_not_counted(tmp_path):
    files = write(scanned(20), tmp_path / "slices")
    localizer = write(
        scanned(1, orientation=CORONAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "localizer"
    )
    facts = facts_of([*localizer, *files], KEYWORDS)
    assert facts.values["slices"] == (20.0,)
    assert facts.values["axial"] == (True,)
    assert "LOCALIZER" not in facts.values["ImageType"]


def test_files_that_cannot_be_read_are_passed_over(tmp_path):
    files = write(scanned(9), tmp_path)
    files[0].path.unlink()
    files[4].path.write_bytes(b"no DICOM")
    facts = facts_of(files, KEYWORDS)
    assert facts.headers_read == 1
    assert facts.values["Modality"] == ("CT",)
    files[8].path.unlink()
    assert facts_of(files, KEYWORDS).headers_read == 0
    assert facts_of([], KEYWORDS).values == {"slices": (0.0,)}


def test_a_storage_that_fails_is_a_transient_error(tmp_path):
    (tmp_path / "folder.dcm").mkdir()
    with pytest.raises(TransientError):
        facts_of([SpooledFile(tmp_path / "folder.dcm", SliceFacts())], KEYWORDS)


def test_without_recorded_facts_the_headers_say_whether_it_is_axial(tmp_path):
    files = [SpooledFile(file.path, SliceFacts()) for file in write(scanned(), tmp_path)]
    for file in files[0], files[30], files[59]:
        dataset = dcmread(file.path)
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.save_as(file.path)
    values = facts_of([files[0], *files], KEYWORDS).values
    assert values["axial"] == (True,)
    assert "coverage_mm" not in values
    assert values["ImageType"][0] == "ORIGINAL"


@pytest.mark.parametrize("recorded", [True, False])
def test_a_multi_frame_instance_speaks_through_its_functional_groups(recorded, tmp_path):
    phantom = make_phantom(PhantomPreset.NORMAL, slices=12, seed=1, size=64)
    (path,) = write_phantom(phantom, tmp_path, layout=Layout(enhanced=True)).dicom
    facts = SliceFacts(frames=12, image_type="ORIGINAL\\PRIMARY\\VOLUME\\NONE") if recorded else SliceFacts(frames=12)
    values = facts_of([SpooledFile(path, facts)], KEYWORDS).values
    spacing_mm = phantom.spacing_mm[0]
    assert values["axial"] == (True,)
    assert values["slices"] == (12.0,)
    assert values["spacing_mm"] == pytest.approx((spacing_mm,), rel=1e-3)
    assert values["coverage_mm"] == pytest.approx((11 * spacing_mm,), rel=1e-3)
    assert values["SliceThickness"] == pytest.approx((spacing_mm,), rel=1e-3)
    assert values["ConvolutionKernel"] == ("PHANTOM",)
    assert values["ImageType"][:2] == ("ORIGINAL", "PRIMARY")


def test_figures_that_are_none_are_absent(tmp_path):
    files = write(scanned(3), tmp_path)
    for file in files:
        content = file.path.read_bytes()
        assert content.count(b"DS\x04\x005.0 ") == 1
        file.path.write_bytes(content.replace(b"DS\x04\x005.0 ", b"DS\x04\x00nan "))
    assert "SliceThickness" not in facts_of(files, KEYWORDS).values
