import csv
import json

import pytest
from patients_taken_in import take_in
from pydicom import dcmread
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.deidentify import key_file
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.records.job import AnalysisState
from covnode.store.tables import AnalysisRow, IdentityRow, PatientRow
from covnode.wiring import landlock
from covnode.wiring.node import open_node

REASON = ("--reason", "asked for by the board")


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.setenv("COVNODE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SUDO_USER", "alice")

    def invoke(*arguments, **options):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)

    assert invoke("init").exit_code == 0
    return invoke


@pytest.fixture
def node(invoke, tmp_path):
    node = open_node(Home(tmp_path / "home"))
    yield node
    node.engine.dispose()


@pytest.fixture
def anna(node):
    taken = take_in(node, "MRN-1", 1)
    with node.transaction() as session:
        session.get_one(AnalysisRow, taken[1]).state = AnalysisState.ANALYSED
    return taken


def said(result):
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_a_look_up_shows_the_patient_and_needs_a_reason(invoke, anna):
    series_id, _, identity = anna
    for name in (series_id, identity.pseudonymous_patient_id):
        shown = said(invoke("identities", "lookup", name, *REASON))
        assert "patient name: SentinelMRN-1^Jane" in shown
        (found,) = json.loads(invoke("identities", "lookup", name, *REASON, "--json").stdout)
        assert (found["patient_id"], found["study_instance_uid"]) == ("MRN-1", "1.2.3.1")
    assert invoke("identities", "lookup", series_id).exit_code == 2
    assert isinstance(invoke("identities", "lookup", series_id, "--reason", " ").exception, ConfigurationError)


def test_the_trail_names_the_person_behind_sudo_and_the_reason(invoke, anna):
    invoke("identities", "lookup", anna[0], *REASON)
    (row,) = json.loads(invoke("identities", "audit", "--json").stdout)
    assert row["actor"].endswith("(sudo by alice)")
    assert (row["action"], row["outcome"], row["identities"]) == ("lookup", "done", 1)
    assert (row["subjects"], row["reason"]) == ([anna[0]], "asked for by the board")
    line = said(invoke("identities", "audit", "--last", "1"))
    assert line.endswith(f"(sudo by alice): lookup done, 1 identities: {anna[0]} (asked for by the board)")


def test_an_export_is_a_table_that_only_its_owner_reads(invoke, anna, tmp_path):
    out = tmp_path / "out.csv"
    assert "1 identities" in said(invoke("identities", "export", "--out", out, *REASON))
    assert out.stat().st_mode & 0o777 == 0o600
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["patient_id"], row["pseudonymous_patient_id"]) == ("MRN-1", anna[2].pseudonymous_patient_id)
    assert isinstance(invoke("identities", "export", "--out", out, *REASON).exception, ConfigurationError)
    assert isinstance(invoke("identities", "export", "--out", tmp_path / "no" / "out", *REASON).exception, OSError)


def test_a_rotation_is_seen_by_the_doctor_and_resumed_where_it_was_broken_off(invoke, node, anna):
    assert "Generation 2 of the keys is in force; 2 rows" in said(invoke("identities", "rotate"))
    key_file.rotate(node.home.keys)  # and the process is killed
    assert said_by_doctor(invoke, "keys").endswith("generation 3 is the newest")
    assert "2 rows are sealed by an older generation" in said_by_doctor(invoke, "vault")
    assert "Generation 3 of the keys is in force; 2 rows" in said(invoke("identities", "rotate", "--resume"))
    assert said_by_doctor(invoke, "vault") == "1 identities, sealed by generation 3"
    assert "SentinelMRN-1" in said(invoke("identities", "lookup", anna[0], *REASON))


def said_by_doctor(invoke, check):
    return next(row for row in json.loads(invoke("doctor", "--json").stdout) if row["check"] == check)["finding"]


def test_the_doctor_says_whether_the_kernel_confines_the_worker(invoke, monkeypatch):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert "run the worker as another user" in said_by_doctor(invoke, "confinement")
    monkeypatch.setattr(landlock, "version", lambda: 7)
    assert "Landlock 7" in said_by_doctor(invoke, "confinement")


def test_an_erasure_asks_first_and_names_what_stays(invoke, node, anna):
    series_id, _, identity = anna
    patient = identity.pseudonymous_patient_id
    folder = node.home.spool / "s1"
    folder.mkdir()
    declined = invoke("identities", "erase", patient, *REASON, input="n\n")
    assert str(declined.exception) == "nothing was erased."
    assert "SentinelMRN-1" in said(invoke("identities", "lookup", series_id, *REASON))
    erased = said(invoke("identities", "erase", patient, *REASON, input="y\n"))
    assert series_id in erased
    assert str(folder) in erased
    assert isinstance(invoke("identities", "lookup", patient, *REASON).exception, ConfigurationError)


def test_a_merge_says_what_comes_of_it(invoke, node, anna):
    other = take_in(node, "MRN-2", 2)[2].pseudonymous_patient_id
    merged = said(invoke("identities", "merge", other, anna[2].pseudonymous_patient_id, *REASON))
    assert merged == f"Series of {other} to come carry {anna[2].pseudonymous_patient_id}."


def test_keys_are_made_for_a_home_without_and_never_in_place_of_lost_ones(invoke, node):
    assert isinstance(invoke("identities", "init").exception, ConfigurationError)
    node.home.keys.unlink()
    assert str(node.home.keys) in said(invoke("identities", "init"))
    take_in(node, "MRN-1", 1)
    node.home.keys.unlink()
    assert "restore" in str(invoke("identities", "init").exception)


def test_an_upgrade_of_the_database_ties_what_an_older_release_sealed(invoke, node, anna):
    with node.transaction() as session:
        session.query(IdentityRow).update({"pseudonymous_patient_id": None})
        session.query(PatientRow).delete()
    assert "1 of 1 identities are tied to no pseudonym" in said_by_doctor(invoke, "vault")
    said(invoke("db", "upgrade"))
    assert said_by_doctor(invoke, "vault") == "1 identities, sealed by generation 1"
    with node.transaction() as session:
        assert session.query(IdentityRow).one().pseudonymous_patient_id == anna[2].pseudonymous_patient_id
        assert session.query(PatientRow).one().key_generation == 1


def test_a_folder_is_deidentified_with_the_pseudonyms_that_the_node_remembers(invoke, node, write_ct, tmp_path):
    """Also after a rotation, and for a patient whom the command saw first."""
    pseudonym = deidentified(invoke, write_ct, tmp_path / "one")
    assert pseudonym == key_file.load(node.home.keys).of_generation(1).patient_id("", "MRN-77")
    said(invoke("identities", "rotate"))
    assert deidentified(invoke, write_ct, tmp_path / "two") == pseudonym


@pytest.fixture
def write_ct(tmp_path):
    folder = tmp_path / "ct"
    write_phantom(
        make_phantom(PhantomPreset.NORMAL, slices=3, seed=1, size=64), folder, attributes={"PatientID": "MRN-77"}
    )
    return folder


def deidentified(invoke, source, out):
    said(invoke("deidentify", source, out))
    return str(dcmread(out / "series-001" / "00001.dcm").PatientID)
