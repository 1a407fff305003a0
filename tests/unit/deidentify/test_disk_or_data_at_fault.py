"""pydicom raises OSError on odd bytes too, but without a number: only one with a number is a fault of the disk."""

import errno

import pytest
from planted import KEYS, ct_slice, received

from covnode.deidentify import leaks, patient
from covnode.deidentify.engine import deidentify_series
from covnode.errors import DeidentificationRefused

READERS = (
    (patient, "dcmread", 1, "unreadable_instance"),
    (leaks, "read_unconverted", 1, "unreadable_instance"),
    (leaks, "read_unconverted", 2, "identity_left"),
)
IDS = ("the patient's attributes", "the original for the check", "the copy")


@pytest.fixture(params=READERS, ids=IDS)
def failing(request, monkeypatch):
    """Let one of the three readings with pydicom fail; return the code of the refusal."""
    module, name, at, code = request.param
    reading, calls = getattr(module, name), []

    def fail_with(error):
        def read(*arguments, **keywords):
            calls.append(arguments)
            if len(calls) == at:
                raise error
            return reading(*arguments, **keywords)

        monkeypatch.setattr(module, name, read)
        return code

    return fail_with


def test_what_pydicom_cannot_read_is_refused(tmp_path, failing):
    code = failing(OSError("No tag to read at file position 22DA0"))
    with pytest.raises(DeidentificationRefused) as refused:
        deidentify_series(received(tmp_path / "in", [ct_slice()]), tmp_path / "out", KEYS)
    assert refused.value.code == code
    assert not (tmp_path / "out").exists()


def test_a_fault_of_the_disk_is_no_refusal(tmp_path, failing):
    failing(OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output") as fault:
        deidentify_series(received(tmp_path / "in", [ct_slice()]), tmp_path / "out", KEYS)
    assert fault.value.errno == errno.EIO
    assert not (tmp_path / "out").exists()
