"""A node that is backed up while it works, killed and restored elsewhere: every result arrives, and none twice."""

import json
import os
import signal

import pytest
from processes import NodeUnderTest, covnode, received, wait_until

from covnode.records.job import AnalysisState, DeliveryState, SeriesState

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


def series_of(write_series, number):
    return write_series(f"ct{number}", SeriesInstanceUID=f"2.25.{number}01", StudyInstanceUID=f"2.25.{number}02")


def kill(node):
    """End every process of a node at once, as a power failure does."""
    for role in ("receive", "work", "send"):
        os.kill(node.pid_of(role), signal.SIGKILL)
    node.process.kill()
    node.process.wait()
    node.process = None
    wait_until(lambda: not node.listens())


def test_what_was_in_flight_arrives_once_from_the_restored_node(idle_node, pacs, write_series, tmp_path):
    node = idle_node
    node.init("--pacs", pacs.address)
    node.start()
    node.push(series_of(write_series, 1))
    first = received(pacs, 2)
    wait_until(lambda: node.jobs("delivery", DeliveryState.DELIVERED))
    pacs.stop()
    node.push(series_of(write_series, 2))
    wait_until(lambda: any(job["attempts"] for job in node.jobs("delivery", DeliveryState.QUEUED)))
    os.kill(node.pid_of("work"), signal.SIGSTOP)
    node.push(series_of(write_series, 3))
    wait_until(lambda: node.jobs("analysis", AnalysisState.QUEUED))
    bad = series_of(write_series, 4)
    files = sorted(bad.glob("*.dcm"))
    late = bad.parent / "late"
    late.mkdir()
    for path in files[20:]:
        path.rename(late / path.name)
    node.push(bad)

    made = covnode("backup", str(tmp_path / "backup"), "--home", str(node.root), "--json")
    assert made.returncode == 0, made.stderr
    states = {row["state"] for row in node.series()}
    assert {AnalysisState.ANALYSED, AnalysisState.QUEUED} <= states
    os.kill(node.pid_of("work"), signal.SIGCONT)
    kill(node)

    other = NodeUnderTest(tmp_path / "elsewhere", port=node.port)
    try:
        restored = covnode("restore", str(tmp_path / "backup"), "--home", str(other.root))
        assert restored.returncode == 0, restored.stderr
        assert len(other.series()) == 4
        other.start()
        pacs.start()
        other.push(late)
        others = received(pacs, 6)
        wait_until(lambda: len(other.jobs("delivery", DeliveryState.DELIVERED)) >= 4)
        studies = sorted(str(ds.StudyInstanceUID) for ds in others)
        assert studies == ["2.25.202", "2.25.202", "2.25.302", "2.25.302", "2.25.402", "2.25.402"]
        assert len({str(ds.SOPInstanceUID) for ds in (*first, *others)}) == 8
        assert pacs.waiting == 0
        assert {row["state"] for row in other.series()} == {AnalysisState.ANALYSED}
        missing = [line["missing"] for line in other.log_lines if line["event"] == "spool_reconciled"]
        assert set(missing) == {0}  # once for itself, and once more when it takes over from the receiver of before
        assert SeriesState.QUARANTINED not in json.dumps(other.series(), default=str)
    finally:
        other.stop()
