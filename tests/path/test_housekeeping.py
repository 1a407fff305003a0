"""What a node keeps and for how long, from the push to the PACS: work waits for room, files go by policy."""

import json
import os
import re

import pytest
from processes import covnode, received, wait_until

from covnode.records.job import AnalysisState, DeliveryState, SeriesState
from covnode.wiring.retention import lock_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

MORE_THAN_ANY_DISK_GB = 1e9


def restart(node, **settings):
    node.stop()
    node.configure(**settings)
    node.start()


def told(node, event):
    return [line for line in node.log_lines if line["event"] == event]


def test_analyses_and_deliveries_wait_queued_while_there_is_no_room(idle_node, pacs, write_series):
    node = idle_node
    node.init("--pacs", pacs.address)
    node.configure(worker__min_free_gb=MORE_THAN_ANY_DISK_GB, deliver__min_free_gb=MORE_THAN_ANY_DISK_GB)
    node.start()
    node.push(write_series())
    wait_until(lambda: told(node, "jobs_wait_for_room"))
    (analysis,) = node.jobs("analysis")
    assert (analysis["state"], analysis["attempts"]) == (AnalysisState.QUEUED, 0)
    doctor = covnode("doctor", "--home", str(node.root), "--json")
    assert doctor.returncode == 1
    (disk,) = [row["finding"] for row in json.loads(doctor.stdout) if row["check"] == "disk"]
    assert "analyses wait until there is room" in disk

    restart(node, worker__min_free_gb=0)
    wait_until(lambda: node.jobs("analysis", AnalysisState.ANALYSED))
    wait_until(lambda: len(told(node, "jobs_wait_for_room")) == 2)
    (delivery,) = node.jobs("delivery")
    assert (delivery["state"], delivery["attempts"]) == (DeliveryState.QUEUED, 0)

    restart(node, deliver__min_free_gb=0)
    assert sorted(ds.Modality for ds in received(pacs, 2)) == ["SEG", "SR"]


def housekeeping(node, *options):
    done = covnode("housekeeping", "run", "--home", str(node.root), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of(home):
    places = (home.spool, home.deidentified, home.results, home.outbox)
    found = {path for place in places for path in place.rglob("*.*") if path.is_file() and path.parent != home.incoming}
    return sorted(found - {lock_of(home)})


def test_a_series_is_removed_once_delivered_and_comes_back_when_it_is_sent_again(idle_node, pacs, write_series):
    node = idle_node
    node.init("--pacs", pacs.address)
    node.configure(retention__delivered_days=1e-6)
    node.start()
    folder = write_series()
    (folder.parent / "late").mkdir()
    late = max(folder.glob("*.dcm")).rename(folder.parent / "late" / "late.dcm")
    node.push(folder)
    first = {str(ds.SOPInstanceUID) for ds in received(pacs, 2)}
    wait_until(lambda: node.jobs("delivery", DeliveryState.DELIVERED))
    for path in node.home.spool.glob("*/*.dcm"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (foretold,) = json.loads(housekeeping(node, "--dry-run", "--json"))
    assert foretold["files"] == "would be removed"
    assert files_of(node.home)
    said = housekeeping(node)
    assert re.search(r"1 of 1 series removed: \d+ MB", said)
    assert files_of(node.home) == []

    node.push(late.parent)
    wait_until(lambda: node.series()[0]["state"] == SeriesState.QUARANTINED)
    assert "have the whole series sent again, then it goes on by itself" in node.series()[0]["reason"]
    refused = covnode("jobs", "retry", node.series()[0]["series_id"], "--home", str(node.root))
    assert (refused.returncode, "retention removed 39 of its 40 files" in refused.stderr) == (1, True)
    assert json.loads(housekeeping(node, "--json"))[0]["because"] == "it is quarantined"
    assert pacs.waiting == 0

    node.push(folder)
    second = {str(ds.SOPInstanceUID) for ds in received(pacs, 2)}
    assert not first & second
    assert node.series()[0]["revision"] == 2
    node.stop()
    assert not {"intake_failed", "assembly_failed", "choice_failed"} & {line["event"] for line in node.log_lines}
