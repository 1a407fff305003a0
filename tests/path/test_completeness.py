"""When a pushed series counts as complete, what says so, and what becomes of slices that come after that."""

import json
from contextlib import contextmanager

import pytest
from processes import covnode, wait_until
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind

from covnode.cli.local_node import free_port
from covnode.deliver.scu import send
from covnode.dicom.association import Destination
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.job import SeriesState
from covnode.store import views

pytestmark = pytest.mark.slow

SLICES = 12
# The analysis ends at once: these tests are about what comes before it.
SETTINGS = {
    "worker.min_slices": "1000",
    "completeness.idle_s": "1",
    "completeness.gap_idle_s": "4",
    "completeness.open_idle_s": "2",
    "completeness.aborted_idle_s": "3",
}


@pytest.fixture(scope="module")
def tiny_phantom():
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=SLICES, seed=3, size=64)


@pytest.fixture
def write(write_series, tiny_phantom):
    """Return a function that writes a series of SLICES slices: by default of a study of its own."""

    def write_one(name, **attributes):
        number = sum(name.encode())
        uids = {"StudyInstanceUID": f"2.25.{number}1", "SeriesInstanceUID": f"2.25.{number}2"}
        return write_series(name, phantom=tiny_phantom, **uids | attributes)

    return write_one


@pytest.fixture
def node_with(idle_node):
    """Return a function that starts a node with these settings."""

    def start(**settings):
        idle_node.init()
        idle_node.configure(**SETTINGS)
        idle_node.configure(**settings)
        idle_node.start("receive")
        return idle_node

    return start


def show(node, series_id):
    with node.transaction() as session:
        return views.show_series(session, series_id)


def shown(node, *command):
    """Return what a command prints as JSON."""
    return json.loads(covnode(*command, "--json", "--home", str(node.root)).stdout)


def is_closed(state):
    return state not in {SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.CHOSEN}


def when_closed(node, count):
    """Return all series, in the order of arrival, once ``count`` are there and none comes in."""
    wait_until(lambda: len(node.series()) == count and all(is_closed(row["state"]) for row in node.series()), 60)
    return [show(node, row["series_id"]) for row in reversed(node.series())]


def apart_from_analyses(series):
    return {key: value for key, value in series.items() if key != "analyses"}


def part_of(folder, name, numbers):
    """Return a folder with some of the slices."""
    part = folder.parent / name
    part.mkdir()
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        if number in numbers:
            (part / path.name).symlink_to(path)
    return part


def push(node, *folders):
    """Push folders, one association each, without a process for it."""
    for folder in folders:
        files = sorted(folder.glob("*.dcm"))
        send("SCANNER", Destination("node", "COVNODE", "127.0.0.1", node.port, 60.0), files, lambda *_: None)


@contextmanager
def pushed(node, folder):
    """Push a folder on an association that stays open as long as the block runs."""
    entity = AE(ae_title="SCANNER")
    files = [dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    entity.add_requested_context(CTImageStorage, files[0].file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", node.port, ae_title="COVNODE")
    assert association.is_established
    try:
        for dataset in files:
            assert association.send_c_store(dataset).Status == 0
        yield association
    finally:
        if association.is_established:
            association.release()


def test_the_evidence_says_why_a_series_is_complete(node_with, write):
    node = node_with()
    counted = write("counted", NumberOfSeriesRelatedInstances=SLICES)
    whole = write("whole")
    push(node, counted)
    push(node, whole)
    push(node, part_of(write("holed"), "with-a-hole", set(range(SLICES)) - {5}))
    push(node, part_of(write("short", ImagesInAcquisition=SLICES), "short-part", range(8)))
    with pushed(node, write("broken")) as association:
        association.abort()
    with pushed(node, write("open")):
        series = when_closed(node, 6)
    sentences = [row["completeness"] for row in series]
    spacing = f"{series[0]['evidence']['geometry']['spacing_mm']:g} mm"
    twice = f"{2 * series[0]['evidence']['geometry']['spacing_mm']:g} mm"
    assert sentences == [
        "association released, 12 of 12 expected instances",
        f"association released, 12 slices without a gap at {spacing}, no slice for 1 s",
        f"association released, 11 slices at {spacing} with 1 gap of {twice}, no slice for 4 s",
        "association released, 8 of 12 images of the scan, no slice for 4 s",
        f"association aborted, 12 slices without a gap at {spacing}, no slice for 3 s",
        f"association still open, 12 slices without a gap at {spacing}, no slice for 2 s",
    ]
    assert [row["evidence"]["rule"] for row in series] == [
        "expected_count",
        "no_gap",
        "gap",
        "too_few",
        "broken_off",
        "still_open",
    ]
    assert series[0]["evidence"]["quiet_s"] < 1
    assert [series[number]["evidence"]["expected_by"] for number in (0, 3)] == ["tag", "acquisition"]
    assert shown(node, "series", "show", series[2]["series_id"])["evidence"] == series[2]["evidence"]
    (finding,) = [row for row in shown(node, "doctor") if row["check"] == "series"]
    assert (
        finding["ok"],
        finding["finding"].startswith("0 receiving, 0 waiting for the choice, 0 for the intake, 0 in quarantine"),
    ) == (True, True)


def test_a_series_that_never_falls_quiet_is_closed_and_reported(node_with, write):
    node = node_with(completeness__watchdog_s="2", completeness__open_idle_s="600")
    with pushed(node, write("open")):
        (series,) = when_closed(node, 1)
    assert series["evidence"]["rule"] == "watchdog"
    assert "closed by force 2 s after its first slice" in series["completeness"]
    (stuck,) = [line for line in node.log_lines if line["event"] == "series_stuck"]
    assert (stuck["level"], stuck["series_id"]) == ("error", series["series_id"])


@pytest.mark.parametrize("policy", ["amend", "ignore", "new_series"])
def test_late_slices_follow_the_policy_and_resends_change_nothing(node_with, write, policy):
    node = node_with(receive__late_slices=policy)
    folder = write("ct")
    first, rest = part_of(folder, "first", range(8)), part_of(folder, "rest", range(8, SLICES))
    push(node, first)
    before = apart_from_analyses(*when_closed(node, 1))
    push(node, first)
    assert apart_from_analyses(*when_closed(node, 1)) == before
    push(node, rest)
    if policy == "amend":
        wait_until(lambda: node.series()[0]["revision"] == 2, 60)
        (after,) = when_closed(node, 1)
        assert (after["instance_count"], after["evidence"]["instances"]) == (SLICES, SLICES)
        assert [job["revision"] for job in after["analyses"]] == [1, 2]
    elif policy == "ignore":
        wait_until(lambda: show(node, before["series_id"])["late_and_ignored"] == SLICES - 8, 60)
        after = apart_from_analyses(*when_closed(node, 1))
        assert after == before | {"late_and_ignored": SLICES - 8}
    else:
        first_part, second_part = when_closed(node, 2)
        assert apart_from_analyses(first_part) == before
        assert (second_part["instance_count"], second_part["revision"]) == (SLICES - 8, 1)


def test_the_same_instance_with_other_content_is_kept_apart_and_shown(node_with, write):
    node = node_with()
    folder = write("ct")
    for number, path in enumerate(sorted(folder.glob("*.dcm"))[:2]):
        dataset = dcmread(path)
        dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.save_as(folder / f"other-{number}.dcm")
    push(node, folder)
    (series,) = when_closed(node, 1)
    assert (series["instance_count"], series["same_uid_other_content"]) == (SLICES + 2, 2)
    assert series["evidence"]["instances"] == SLICES


def test_a_study_of_two_patients_waits_for_a_person_and_nothing_is_delivered(node_with, write):
    # Both are there before either is complete.
    node = node_with(completeness__idle_s="5")
    write("both/one", StudyInstanceUID="2.25.9", PatientID="MRN-ONE")
    write("both/two", StudyInstanceUID="2.25.9", PatientID="MRN-TWO")
    push(node, *(node.root.parent / "both").iterdir())
    series = when_closed(node, 2)
    assert {(row["state"], row["reason_code"]) for row in series} == {("quarantined", "identity_conflict")}
    assert not any("MRN" in str(row) for row in series)
    assert node.jobs() == []
    released = series[0]["series_id"]
    assert covnode("jobs", "retry", released, "--home", str(node.root)).returncode == 0
    wait_until(lambda: node.jobs("analysis"), 60)
    states = {row["series_id"]: row["state"] for row in node.series()}
    assert states.pop(released) != SeriesState.QUARANTINED
    assert set(states.values()) == {SeriesState.QUARANTINED}


def test_the_source_is_asked_how_many_instances_a_series_has(node_with, write):
    asked = []

    def answer(event):
        keys = event.identifier
        asked.append((keys.QueryRetrieveLevel, keys.StudyInstanceUID, keys.SeriesInstanceUID))
        keys.NumberOfSeriesRelatedInstances = SLICES + 1
        yield 0xFF00, keys

    entity, port = AE(ae_title="SCANNER"), free_port()
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    try:
        peer = {"ae_title": "SCANNER", "host": "127.0.0.1", "port": port, "count_by_find": "true"}
        node = node_with(**{f"peers__ct__{key}": str(value) for key, value in peer.items()})
        folder = write("ct")
        push(node, folder)
        (series,) = when_closed(node, 1)
    finally:
        server.shutdown()
    original = dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True)
    assert asked == [("SERIES", original.StudyInstanceUID, original.SeriesInstanceUID)]
    assert series["completeness"] == "association released, 12 of 13 expected instances, no slice for 4 s"
    assert (series["evidence"]["expected_by"], series["expected_instances"]) == ("c-find", SLICES + 1)
