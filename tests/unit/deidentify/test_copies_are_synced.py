"""Copies are synced behind the work: all are on disk before the folder gets its name, and a failure is raised."""

import errno
import os

import pytest
from planted import KEYS, ct_slice, received

from covnode.deidentify.engine import deidentify_series

SLICES = 60


@pytest.fixture
def series(tmp_path):
    return received(tmp_path / "in", [ct_slice(number) for number in range(SLICES)])


def test_every_copy_is_on_disk_before_its_folder(tmp_path, series, monkeypatch):
    fsync, synced = os.fsync, []

    def recording(descriptor):
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", recording)
    copies, _ = deidentify_series(series, tmp_path / "out", KEYS)
    files = [file.stat().st_ino for file in copies.files]
    assert synced == [*files, (tmp_path / "out").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("failing", [1, SLICES // 2, SLICES])
def test_a_sync_that_fails_is_raised_and_nothing_is_left(tmp_path, series, monkeypatch, failing):
    fsync, calls = os.fsync, []

    def failing_once(descriptor):
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing_once)
    with pytest.raises(OSError, match="Input/output") as fault:
        deidentify_series(series, tmp_path / "out", KEYS)
    assert fault.value.errno == errno.EIO
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_copy_that_cannot_be_written_is_raised(tmp_path, series):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        deidentify_series(series, tmp_path / "file" / "out", KEYS)
