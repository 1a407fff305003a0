import errno
import fcntl
import os

import pytest

from covnode.receive import block_writer
from covnode.receive.block_writer import BlockWriter, Buffers

BLOCK, BUFFER = 4096, 1 << 20


@pytest.fixture
def opened(tmp_path):
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    yield path, descriptor
    os.close(descriptor)


def is_direct(descriptor):
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def write(descriptor, raw, piece, buffers=None):
    writer = BlockWriter(descriptor, buffers or Buffers())
    left = memoryview(raw)
    while left:
        room = writer.room()
        count = min(piece, len(room), len(left))
        room[:count] = left[:count]
        writer.took(count)
        left = left[count:]
    writer.finish()
    assert writer.read(0, 10) == raw[:10]
    assert writer.read(len(raw) // 2, len(raw) + 10) == raw[len(raw) // 2 :]
    writer.close()


@pytest.fixture
def writes(monkeypatch):
    """Whether each write passed the page cache, and its length."""
    noted = []
    plain_write = os.write

    def noting(descriptor, data):
        noted.append((is_direct(descriptor), len(data)))
        return plain_write(descriptor, data)

    monkeypatch.setattr(block_writer.os, "write", noting)
    return noted


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 5 * BLOCK + 7]
)
@pytest.mark.parametrize("piece", [16_378, BUFFER, 4 * BUFFER])
def test_a_file_holds_what_was_written_whatever_its_length_and_the_pieces(opened, size, piece):
    path, descriptor = opened
    raw = os.urandom(size)
    write(descriptor, raw, piece)
    assert path.read_bytes() == raw


def test_whole_blocks_pass_the_page_cache_and_the_rest_does_not(opened, writes):
    _path, descriptor = opened
    write(descriptor, bytes(BUFFER + 2 * BLOCK + 5), 100_000)
    assert writes == [(True, BUFFER), (True, 2 * BLOCK), (False, 5)]
    assert not is_direct(descriptor)


def test_a_file_system_that_knows_no_direct_writes_takes_the_same_bytes(opened, writes, monkeypatch):
    path, descriptor = opened
    plain_fcntl = fcntl.fcntl

    def refusing(number, command, *flags):
        if command == fcntl.F_SETFL and flags[0] & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return plain_fcntl(number, command, *flags)

    monkeypatch.setattr(block_writer.fcntl, "fcntl", refusing)
    raw = os.urandom(BLOCK + 5)
    write(descriptor, raw, 1000)
    assert path.read_bytes() == raw
    assert writes == [(False, BLOCK), (False, 5)]


def test_a_disk_that_refuses_a_direct_write_is_written_to_through_the_cache(opened, monkeypatch):
    path, descriptor = opened
    plain_write = os.write

    def refusing(number, data):
        if is_direct(number):
            raise OSError(errno.EINVAL, "Invalid argument")
        return plain_write(number, data)

    monkeypatch.setattr(block_writer.os, "write", refusing)
    raw = os.urandom(2 * BUFFER + 5)
    write(descriptor, raw, 1000)
    assert path.read_bytes() == raw


def test_a_write_that_was_cut_short_goes_on_behind_it(opened, monkeypatch):
    path, descriptor = opened
    plain_write = os.write
    monkeypatch.setattr(block_writer.os, "write", lambda number, data: plain_write(number, data[:BLOCK]))
    raw = os.urandom(3 * BLOCK + 5)
    write(descriptor, raw, 1000)
    assert path.read_bytes() == raw


def test_a_full_disk_is_told(opened, monkeypatch):
    def full(_descriptor, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(block_writer.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        write(opened[1], bytes(BLOCK), BLOCK)


def test_what_one_writer_left_in_memory_is_in_no_other_file(opened, tmp_path):
    path, descriptor = opened
    buffers = Buffers()
    write(descriptor, b"x" * BLOCK * 2, BLOCK, buffers)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    write(other, b"y" * 5, 5, buffers)
    os.close(other)
    assert (tmp_path / "other").read_bytes() == b"y" * 5
    assert path.read_bytes() == b"x" * BLOCK * 2
