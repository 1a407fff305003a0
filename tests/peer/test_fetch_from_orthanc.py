"""``covnode fetch``: from Orthanc by C-MOVE and C-GET, a patient's priors by C-FIND, and what is said when it fails."""

import json

import pytest
from conftest import Orthanc
from dcmtk import run
from front_door import FrontDoor, data_set_of
from processes import covnode, wait_until
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGLosslessSV1, MRImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.cli.local_node import NODE_AE, free_port, run_covnode
from covnode.errors import CovnodeError
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.store.tables import InstanceRow, SeriesRow

pytestmark = [pytest.mark.peer, pytest.mark.slow]

PATIENT = "PAT-4711"


class Archive:
    """Series made of one small phantom, kept in Orthanc."""

    def __init__(self, folder, orthanc):
        self.folder = folder
        self.orthanc = orthanc
        write_phantom(make_phantom(PhantomPreset.COVID_SEVERE, slices=12, seed=3, size=64), folder / "phantom")

    def add(self, *, patient=PATIENT, date="20260110", study=None, modality="CT", compress=False):
        """Keep a new series of twelve; return its files."""
        series = generate_uid()
        study = study or generate_uid()
        out = self.folder / series
        out.mkdir()
        for path in sorted((self.folder / "phantom").glob("*.dcm")):
            ds = dcmread(path)
            ds.PatientID, ds.StudyDate, ds.Modality = patient, date, modality
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study, series, generate_uid()
            if modality == "MR":
                ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.save_as(out / path.name)
            if compress:
                run("dcmcjpeg", "+e1", str(out / path.name), str(out / path.name))
        self.orthanc.hold(out)
        return sorted(out.glob("*.dcm"))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("pacs") / "orthanc")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def archive(tmp_path_factory, orthanc):
    return Archive(tmp_path_factory.mktemp("archive"), orthanc)


@pytest.fixture(scope="module")
def node(tmp_path_factory, orthanc):
    """A node that only receives, with Orthanc as its peer ``pacs``; each knows the other."""
    node = FrontDoor(tmp_path_factory.mktemp("node") / "home")
    node.init()
    run_covnode("peer", "add", "pacs", f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", "--home", str(node.root))
    node.start()
    orthanc.knows(NODE_AE, node.port)
    yield node
    node.stop()


def said(node, *arguments, peer="pacs"):
    """Run fetch in this process; return its exit code and all that it says."""
    done = CliRunner().invoke(app, ["fetch", "--from", peer, *arguments, "--home", str(node.root)])
    assert done.exception is None or isinstance(done.exception, CovnodeError | SystemExit), done.exception
    error = str(done.exception) if isinstance(done.exception, CovnodeError) else ""
    return done.exit_code, " ".join(f"{done.output} {error}".split())


def fetch(node, *arguments, exit_code=0, peer="pacs"):
    """Run fetch as a program; return the JSON that it prints."""
    done = covnode("fetch", "--from", peer, *arguments, "--json", "--home", str(node.root))
    assert done.returncode == exit_code, done.stderr
    return json.loads(done.stdout)


def uids_of(files):
    header = dcmread(files[0], stop_before_pixels=True)
    return str(header.StudyInstanceUID), str(header.SeriesInstanceUID)


def recorded(node, series_id):
    """Return (transfer syntax, data set) of each instance of a series."""
    with node.transaction() as session:
        rows = session.query(InstanceRow.transfer_syntax_uid, InstanceRow.file_name).filter_by(series_id=series_id)
        return sorted((syntax, data_set_of(node.home.spool / name)) for syntax, name in rows)


def contents(files):
    return sorted((str(dcmread(path).file_meta.TransferSyntaxUID), data_set_of(path)) for path in files)


@pytest.mark.parametrize("by", ["move", "get"])
def test_the_ct_series_of_a_study_come_in_as_the_archive_has_them(by, node, archive, orthanc):
    files = archive.add()
    study, _series = uids_of(files)
    compressed = archive.add(study=study, compress=True)
    archive.add(study=study, modality="MR")
    done = fetch(node, "--study", study, "--by", by)
    assert (done["peer"], done["by"], done["is_whole"]) == ("pacs", by, True)
    assert [(item["expected"], item["received"], item["failed"]) for item in done["series"]] == [(12, 12, 0)] * 2
    ids = {item["series_id"] for item in done["series"]}
    assert ids <= {item["series_id"] for item in node.series()}
    wait_until(lambda: sum(len(recorded(node, series_id)) for series_id in ids) == 24, 20)
    by_syntax = {instances[0][0]: instances for instances in (recorded(node, series_id) for series_id in ids)}
    assert by_syntax[str(JPEGLosslessSV1)] == contents(compressed)
    assert sorted(by_syntax) == sorted({contents(files)[0][0], str(JPEGLosslessSV1)})
    assert by_syntax[contents(files)[0][0]] == contents(files)
    assert list(node.home.incoming.iterdir()) == []


@pytest.mark.parametrize("by", ["move", "get"])
def test_one_series_of_a_study(by, node, archive):
    files = archive.add()
    study, series = uids_of(files)
    archive.add(study=study)
    done = fetch(node, "--study", study, "--series", series, "--by", by, peer="ORTHANC")
    assert [item["received"] for item in done["series"]] == [12]
    wait_until(lambda: recorded(node, done["series"][0]["series_id"]) == contents(files), 20)


def test_a_fetched_series_names_its_source(node, archive):
    """By C-GET too, so that the peer can be asked how many instances the series has."""
    study, _series = uids_of(archive.add())
    (series,) = fetch(node, "--study", study, "--by", "get")["series"]
    with node.transaction() as session:
        assert session.get_one(SeriesRow, series["series_id"]).source_ae_title == "ORTHANC"


def test_priors_are_the_ct_studies_of_this_patient_alone_the_newest_first(node, archive):
    older = archive.add(patient="PAT-1", date="20240102")
    newer = archive.add(patient="PAT-1", date="20250304")
    archive.add(patient="PAT-1", date="20250304", study=uids_of(newer)[0])
    archive.add(patient="PAT-1", date="20250505", modality="MR")
    archive.add(patient="PAT-10")
    listed = fetch(node, "--patient", "PAT-1", "--priors", "--list")
    assert [(item["number"], item["ct_series"], item["instances"]) for item in listed] == [(1, 2, 24), (2, 1, 12)]
    assert [item["series_here"] for item in listed] == [[], []]
    done = fetch(node, "--patient", "PAT-1", "--priors", "--newest", "1")
    assert [item["received"] for item in done["series"]] == [12, 12]
    listed = fetch(node, "--patient", "PAT-1", "--priors", "--list")
    assert sorted(listed[0]["series_here"]) == sorted(item["series_id"] for item in done["series"])
    assert listed[1]["series_here"] == []
    done = fetch(node, "--patient", "PAT-1", "--priors")
    assert len(done["series"]) == 3
    wait_until(lambda: recorded(node, done["series"][2]["series_id"]) == contents(older), 20)


def test_nobody_reads_an_identity_on_the_screen_or_in_the_log(node, archive):
    study, series = uids_of(archive.add(patient="PAT-2", date="20230203"))
    asked = [
        ("--study", study),
        ("--study", study, "--series", series, "--by", "get"),
        ("--patient", "PAT-2", "--priors", "--list"),
        ("--patient", "PAT-2", "--priors"),
        ("--study", f"{study}.1"),
        ("--study", "PAT-2*"),
        ("--patient", "PAT-2*", "--priors"),
    ]
    heard = [said(node, *arguments)[1] for arguments in asked]
    assert all(heard)
    for identity in (study, series, "PAT-2", "20230203"):
        assert not any(identity in text for text in [*heard, node.log.read_text()])


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--study", "1.2.3.4.5"], 3, "no CT series"),
        (["--study", "1.2.*"], 1, "without wildcards"),
        (["--patient", "PAT*", "--priors"], 1, "more than one patient"),
        (["--patient", "PAT-1"], 1, "--priors"),
        (["--study", "1.2.3", "--patient", "PAT-1", "--priors"], 1, "either --study"),
        ([], 1, "either --study"),
        (["--study", "1.2.3", "--from", "nowhere"], 1, "covnode peer list"),
    ],
)
def test_what_cannot_be_fetched_is_said_with_the_way_out(arguments, exit_code, message, node):
    code, text = said(node, *arguments)
    assert (code, message in text) == (exit_code, True), text


class Pacs:
    """An archive with one CT series, whose C-MOVE ends as the test says."""

    def __init__(self, port, move):
        entity = AE(ae_title="ODD")
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        handlers = [(evt.EVT_C_FIND, self._on_find), (evt.EVT_C_MOVE, move)]
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def _on_find(self, event):
        answer = Dataset()
        answer.StudyInstanceUID = event.identifier.StudyInstanceUID
        answer.SeriesInstanceUID = "1.2.3.1"
        answer.Modality = "CT"
        answer.NumberOfSeriesRelatedInstances = 3
        yield 0xFF00, answer
        # Another study, which nobody asked for.
        other = Dataset()
        other.update(answer)
        other.StudyInstanceUID = "1.2.4"
        yield 0xFF00, other


@pytest.fixture
def odd_peer(node):
    """Return a function that starts an odd archive and adds it as a peer; it goes with the test."""
    servers = []

    def start(move):
        port = free_port()
        servers.append(Pacs(port, move).server)
        run_covnode("peer", "add", "odd", f"ODD@127.0.0.1:{port}", "--home", str(node.root))

    yield start
    run_covnode("peer", "remove", "odd", "--home", str(node.root))
    for server in servers:
        server.shutdown()


def test_an_archive_that_does_not_know_this_node_says_so_and_what_helps(node, odd_peer):
    def move(_event):
        yield None, None  # pynetdicom answers A801

    odd_peer(move)
    code, text = said(node, "--study", "1.2.3", peer="odd")
    assert code == 1
    for part in ("(A801)", "does not know COVNODE as a move destination", "--by get"):
        assert part in text


def test_an_archive_without_c_get_is_named(node, odd_peer):
    odd_peer(lambda _event: iter(()))
    code, text = said(node, "--study", "1.2.3", "--by", "get", peer="odd")
    assert (code, text) == (1, "odd does not know C-GET: use --by move")


def test_an_archive_that_leaves_some_out_is_reported_as_incomplete(node, odd_peer):
    def move(_event):
        yield "127.0.0.1", node.port
        yield 0  # of the three that it has, it sends none, and ends with Success

    odd_peer(move)
    done = fetch(node, "--study", "1.2.3", peer="odd", exit_code=3)
    assert (done["is_whole"], done["series"]) == (
        False,
        [{"series_id": None, "expected": 3, "received": 0, "failed": 0}],
    )


def test_a_node_that_takes_nothing_says_whose_fault_it_is(node, archive):
    study, _series = uids_of(archive.add())
    node.stop()
    node.configure(receive__min_free_gb=1_000_000)
    node.start()
    try:
        code, text = said(node, "--study", study, "--by", "get")
        assert (code, "its log says why it takes nothing" in text) == (1, True), text
        code, text = said(node, "--study", study)
        assert (code, "look there which host and port it has for this node" in text) == (1, True), text
        node.stop()
        code, text = said(node, "--study", study, "--by", "get")
        assert (code, "does 'covnode serve' run?" in text) == (1, True), text
    finally:
        node.stop()
        node.configure(receive__min_free_gb=0)
        node.start()
