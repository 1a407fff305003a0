"""Too little room: a warning first, then what must be written waits; each is said once."""

import pytest
from structlog.testing import capture_logs

from covnode import disk
from covnode.cli.doctor import _disk
from covnode.errors import CovnodeError
from covnode.home import Home
from covnode.settings import Settings
from covnode.wiring.node import Node
from covnode.wiring.room import DiskWarnings, needs_of, room_for_jobs


class Disk:
    """A disk with as much room as the test says."""

    f_frsize = 1

    def __init__(self, free_gb):
        self.free_gb = free_gb

    @property
    def f_bavail(self):
        return self.free_gb * 1e9


@pytest.fixture
def full(monkeypatch):
    one = Disk(100.0)
    monkeypatch.setattr(disk.os, "statvfs", lambda _folder: one)
    return one


@pytest.fixture
def node(tmp_path):
    node = Node(Home(tmp_path), Settings())
    for folder in node.home.folders:
        folder.mkdir(parents=True, exist_ok=True)
    return node


def said(logs):
    return [(line["event"], line["free_gb"]) for line in logs]


def test_a_disk_that_runs_low_is_told_once_at_each_crossing(node, full):
    warnings = DiskWarnings(node)
    with capture_logs() as logs:
        for full.free_gb in (11.0, 9.9, 5.0, 10.5, 11.1, 9.0):
            warnings.look()
    assert said(logs) == [("disk_low", 9.9), ("disk_has_room", 11.1), ("disk_low", 9.0)]


@pytest.mark.parametrize(("role", "setting"), [("worker", "worker.min_free_gb"), ("sender", "deliver.min_free_gb")])
def test_jobs_wait_below_their_watermark_and_go_on_above_it(node, full, role, setting):
    has_room = room_for_jobs(needs_of(node)[role])
    with capture_logs() as logs:
        answers = [has_room() for full.free_gb in (5.0, 0.9, 0.8, 1.05, 1.2, 1.05)]
    assert answers == [True, False, False, False, True, True]
    assert said(logs) == [("jobs_wait_for_room", 0.9), ("jobs_go_on", 1.2)]
    assert logs[0]["setting"] == setting


def test_the_doctor_says_what_waits_and_warns_before(node, full):
    full.free_gb = 50.0
    assert _disk(node) == "50 GB free"
    full.free_gb = 9.0
    with pytest.raises(CovnodeError, match=r"9\.0 GB free, less than node\.warn_free_gb = 10"):
        _disk(node)
    full.free_gb = 1.5
    with pytest.raises(CovnodeError, match=r"receive\.min_free_gb = 2: nothing is received"):
        _disk(node)
    settings = Settings.model_validate({"receive": {"min_free_gb": 0}})
    full.free_gb = 0.5
    with pytest.raises(CovnodeError, match=r"results, less than worker\.min_free_gb = 1: analyses wait"):
        _disk(Node(node.home, settings))
