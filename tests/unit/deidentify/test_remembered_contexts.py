"""What was made or judged of a value is used again for the same value in the same context alone."""

import pytest
from planted import KEYS, ct_slice, received
from pydicom import dcmread, dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covnode.deidentify import remembered
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.leaks import LeakCheck
from covnode.deidentify.profile import node_profile
from covnode.deidentify.remembered import Remembered
from covnode.errors import DeidentificationRefused

TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def mixed():
    return [ct_slice(number, TRANSFER_SYNTAXES[number % 3]) for number in range(9)]


def copies(folder, slices):
    series, _ = deidentify_series(received(folder / "in", slices), folder / "out", KEYS)
    return {dcmread(file).SOPInstanceUID: file.read_bytes() for file in series.files}


def test_a_series_of_several_transfer_syntaxes_is_copied_as_each_instance_alone(tmp_path):
    alone = {}
    for number, each in enumerate(mixed()):
        alone |= copies(tmp_path / str(number), [each])
    assert copies(tmp_path, mixed()) == alone


def test_a_full_memory_changes_nothing(tmp_path, monkeypatch):
    before = copies(tmp_path / "a", mixed())
    monkeypatch.setattr(remembered, "_MOST", 1)
    assert copies(tmp_path / "b", mixed()) == before


def test_a_memory_stays_small():
    memory = Remembered()
    for number in range(3 * remembered._MOST):
        memory[number] = None
        assert number in memory
        assert len(memory) <= remembered._MOST


@pytest.fixture
def checked(tmp_path):
    """A check that has let a copy pass, and that copy."""
    series = received(tmp_path / "in", [ct_slice(PatientName="Force^X", ManufacturerModelName="SOMATOM Force")])
    copied, _ = deidentify_series(series, tmp_path / "out", KEYS)
    check = LeakCheck(node_profile())
    check.learn(series.instances[0].path)
    check.verify(copied.files[0])
    return check, copied.files[0]


def test_a_value_that_passed_in_one_attribute_does_not_pass_in_another(checked):
    check, copy = checked
    dataset = dcmread(copy)
    dataset.add_new("BodyPartExamined", "LO", dataset.ManufacturerModelName)
    dcmwrite(copy, dataset)
    with pytest.raises(DeidentificationRefused, match="BodyPartExamined holds a word of a name"):
        check.verify(copy)


@pytest.mark.parametrize(
    ("kernel", "after_the_pixels", "reason"),
    [("zqkernel", b"", "ConvolutionKernel holds a word of a name"), ("B40f", b"zqkernel", "bytes between")],
)
def test_what_passed_is_judged_anew_when_more_is_learnt(tmp_path, kernel, after_the_pixels, reason):
    slices = [ct_slice(1, ConvolutionKernel=kernel), ct_slice(2, PatientName="Zqkernel^A")]
    first, second = received(tmp_path / "in", slices).instances
    copied, _ = deidentify_series(received(tmp_path / "one", slices[:1]), tmp_path / "out", KEYS)
    copied.files[0].write_bytes(copied.files[0].read_bytes() + after_the_pixels)
    check = LeakCheck(node_profile())
    check.learn(first.path)
    check.verify(copied.files[0])
    check.learn(second.path)
    with pytest.raises(DeidentificationRefused, match=reason):
        check.verify(copied.files[0])
