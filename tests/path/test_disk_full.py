"""The spool's disk fills up: what comes then is refused for now, nothing is deleted, and it goes on when there is room.

The home lies on a small tmpfs of the test's own, which only root may mount; without that there is no disk to fill.
"""

import os
import subprocess
from collections import Counter

import pytest
from dicom_instances import SyntheticSeries
from dicom_sender import SUCCESS, Message, Rejected
from processes import wait_until
from receiving_node import ReceivingNode

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

OUT_OF_RESOURCES = 0xA700
REJECTED_TRANSIENT = (2, 3, 1)
DISK_MB = 64
SERIES = SyntheticSeries(1, 128)


@pytest.fixture
def disk(tmp_path):
    """A small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root, outside of a confined container, may mount a small disk to fill")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def start(disk):
    """Return a function that starts a node on the small disk with a watermark in MB."""
    node = ReceivingNode(disk / "home")

    def started(watermark_mb: int) -> ReceivingNode:
        node.init()
        node.configure(**{"receive.min_free_gb": str(watermark_mb / 1000)})
        node.start_receiver()
        return node

    yield started
    node.stop()


def fill(disk, leave_bytes: int):
    """Take the disk's room but for ``leave_bytes``; return the file that takes it."""
    state = os.statvfs(disk)
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - leave_bytes)
    return ballast


def test_at_the_watermark_associations_are_rejected_for_now_until_there_is_room(disk, start):
    node = start(watermark_mb=20)
    association = node.associate()
    message = Message(association, SERIES)
    assert association.store(message.of(0)) == SUCCESS
    ballast = fill(disk, 10_000_000)
    assert association.store(message.of(1)) == OUT_OF_RESOURCES
    with pytest.raises(Rejected) as rejected:
        node.associate()
    assert rejected.value.code == REJECTED_TRANSIENT
    assert node.kept() == Counter([SERIES.digest(0)])
    ballast.unlink()
    wait_until(node.answers, 20)
    assert association.store(message.of(1)) == SUCCESS
    association.release()
    assert node.kept() == Counter(SERIES.digest(instance) for instance in (0, 1))


def test_an_instance_that_no_longer_fits_is_refused_and_leaves_nothing(disk, start):
    node = start(watermark_mb=0)
    association = node.associate()
    message = Message(association, SERIES)
    assert association.store(message.of(0)) == SUCCESS
    ballast = fill(disk, 20_000)
    assert association.store(message.of(1)) == OUT_OF_RESOURCES
    assert node.kept() == Counter([SERIES.digest(0)])
    # A file that is empty was made ahead for the next instance.
    assert sum(path.stat().st_size for path in node.home.incoming.iterdir()) == 0
    ballast.unlink()
    wait_until(node.answers, 20)  # the database lies on the same disk
    assert association.store(message.of(1)) == SUCCESS
    association.release()
    wait_until(lambda: sum(node.recorded().values()) == 2, 30)
