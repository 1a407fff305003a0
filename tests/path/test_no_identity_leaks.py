"""Sentinel identifiers pushed through the whole path appear in the vault, the spool and the PACS, and nowhere else."""

import sqlite3

import pytest
from processes import covnode, received, wait_until
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

pytestmark = pytest.mark.slow

SENTINELS = {
    "name": "SENTINELFAMILY",
    "given": "SENTINELGIVEN",
    "id": "SENTID4711",
    "accession": "SENTACC0815",
    "physician": "SENTINELPHYSICIAN",
    "operator": "SENTINELOPERATOR",
    "institution": "SENTINEL GENERAL HOSPITAL",
    "private": "SENTINELPRIVATE",
    "nested": "SENTINELNESTED",
    "comment": "SENTINELCOMMENT",
    "study uid": "1.2.826.0.1.3680043.2.1125.4711.1",
    "series uid": "1.2.826.0.1.3680043.2.1125.4711.2",
}


def plant(path, number):
    ds = dcmread(path)
    ds.PatientName = f"{SENTINELS['name']}^{SENTINELS['given']}"
    ds.PatientID = SENTINELS["id"]
    ds.AccessionNumber = SENTINELS["accession"]
    ds.ReferringPhysicianName = SENTINELS["physician"]
    ds.OperatorsName = SENTINELS["operator"]
    ds.InstitutionName = SENTINELS["institution"]
    ds.ImageComments = SENTINELS["comment"]
    ds.StudyInstanceUID = SENTINELS["study uid"]
    ds.SeriesInstanceUID = SENTINELS["series uid"]
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{SENTINELS['series uid']}.{number}"
    block = ds.private_block(0x0041, "SENTINEL VENDOR", create=True)
    block.add_new(0x01, "LO", SENTINELS["private"])
    deepest = Dataset()
    deepest.PatientName = SENTINELS["nested"]
    deepest.RequestingPhysician = SENTINELS["physician"]
    middle = Dataset()
    middle.ReferencedStudySequence = Sequence([deepest])
    block.add_new(0x02, "SQ", Sequence([middle]))
    ds.RequestAttributesSequence = Sequence([middle])
    ds.save_as(path)


def spellings(text):
    return {text.encode(), text.lower().encode(), text.upper().encode()}


def leaks(data):
    return [name for name, text in SENTINELS.items() if any(spelling in data for spelling in spellings(text))]


def dump(database):
    with sqlite3.connect(database) as connection:
        return "\n".join(connection.iterdump()).encode(errors="replace")


def test_sentinels_reach_the_pacs_and_nothing_else(node, pacs, write_series):
    folder = write_series()
    for number, path in enumerate(sorted(folder.glob("*.dcm")), start=1):
        plant(path, number)
    node.push(folder)
    assert {str(ds.PatientID) for ds in received(pacs, 2)} == {SENTINELS["id"]}
    wait_until(lambda: node.jobs("delivery", "delivered"))
    node.stop()

    seen_by_the_worker = [path for place in ("deidentified", "results") for path in (node.root / place).rglob("*")]
    assert len(seen_by_the_worker) > 40
    for path in seen_by_the_worker:
        assert not leaks(str(path).encode()), path
        if path.is_file():
            assert not leaks(path.read_bytes()), path
    assert not leaks(dump(node.root / "covnode.db"))
    assert not leaks(node.log.read_bytes())
    for command in (["series", "list"], ["jobs", "list"]):
        shown = covnode(*command, "--json", "--home", str(node.root))
        assert shown.returncode == 0
        assert not leaks(shown.stdout.encode())


def test_the_search_finds_what_it_looks_for(write_series):
    """The check above can fail: the originals hold every sentinel."""
    folder = write_series()
    path = min(folder.glob("*.dcm"))
    plant(path, 1)
    assert set(leaks(path.read_bytes())) == set(SENTINELS)
