"""``covnode deidentify`` under options: by the command line, by the configuration, and what is refused."""

import json

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.deidentify import key_file
from covnode.errors import ConfigurationError, CovnodeError
from covnode.home import Home
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.wiring.node import open_node

INSTITUTION = "Zqmarien Hospital"


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(PhantomPreset.NORMAL, slices=3, seed=5, size=32)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COVNODE_HOME", str(tmp_path / "home"))
    home = Home(tmp_path / "home")
    key_file.create(home.keys)
    return home


@pytest.fixture
def source(tmp_path, phantom):
    folder = tmp_path / "in"
    attributes = {
        "PatientName": "Zqfamily^Ann",
        "PatientAge": "071Y",
        "InstitutionName": INSTITUTION,
        "SeriesDescription": "Thorax 1.5 B40f",
        "StudyDate": "20220401",
    }
    for path in write_phantom(phantom, folder, attributes=attributes).dicom:
        dataset = dcmread(path)
        dataset.private_block(0x0019, "ZQ CT 01", create=True).add_new(0x01, "DS", "12.5")
        dataset.save_as(path, enforce_file_format=True)
    for truth in folder.glob("truth.*"):
        truth.unlink()
    return folder


def run(*arguments):
    result = CliRunner().invoke(app, ["deidentify", *map(str, arguments)])
    if isinstance(result.exception, CovnodeError):
        raise result.exception
    return result.exit_code, result.stdout, " ".join((result.stdout + result.stderr).split())


def first(out):
    return dcmread(out / "series-001" / "00001.dcm")


def test_the_command_line_chooses(home, source, tmp_path):
    safe = tmp_path / "safe.csv"
    safe.write_text('creator,tag,vr\nZQ CT 01,"0019,xx01",DS\n')
    options = ["retain_institution_identity", "clean_descriptors", "retain_patient_characteristics"]
    arguments = [argument for name in options for argument in ("--option", name)]
    code, stdout, _ = run(source, tmp_path / "out", *arguments, "--dates", "full", "--safe-private", safe, "--json")
    assert code == 0
    copy = first(tmp_path / "out")
    assert (copy.InstitutionName, copy.SeriesDescription) == (INSTITUTION, "Thorax 1.5 B40f")
    assert (copy.PatientAge, copy.StudyDate) == ("071Y", "20220401")
    assert copy.private_block(0x0019, "ZQ CT 01")[0x01].value == 12.5
    assert copy.LongitudinalTemporalInformationModified == "UNMODIFIED"
    stated = [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]
    told = json.loads(stdout)
    assert stated == ["113100", "113105", "113106", "113108", "113111", "113112"]
    assert [told["profile"]["code"], *(option["code"] for option in told["options"])] == stated


def test_the_configuration_chooses_and_the_command_line_goes_before_it(home, source, tmp_path):
    home.config.write_text('[deidentify]\noptions = ["retain_institution_identity"]\ndates = "removed"\n')
    open_node(home).upgrade_database()
    assert run(source, tmp_path / "a")[0] == 0
    assert (first(tmp_path / "a").InstitutionName, first(tmp_path / "a").StudyDate) == (INSTITUTION, "")
    assert run(source, tmp_path / "b", "--option", "clean_descriptors", "--dates", "modified")[0] == 0
    copy = first(tmp_path / "b")
    assert (copy.InstitutionName, copy.SeriesDescription) == ("REMOVED", "Thorax 1.5 B40f")
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"


def test_the_dry_run_shows_action_and_clause_under_the_options(home, source):
    def rows(*arguments):
        stdout = run(source, "--dry-run", "--json", *arguments)[1]
        return {row["keyword"]: (row["action"], row["source"]) for row in json.loads(stdout)["attributes"]}

    usual, chosen = rows(), rows("--option", "retain_institution_identity", "--dates", "full")
    assert usual["InstitutionName"] == ("D", "PS3.15 Table E.1-1, Basic Profile")
    assert chosen["InstitutionName"] == ("K", "PS3.15 Table E.1-1, Retain Institution Identity Option")
    assert usual["StudyDate"][0] == "C"
    full = "PS3.15 Table E.1-1, Retain Longitudinal Temporal Information Full Dates Option"
    assert chosen["StudyDate"] == ("K", full)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--option", "clean_graphics"), "may be letters"),
        (("--option", "clean_pixel_data"), "clean_descriptors"),
        (("--option", "retain_safe_private"), "--safe-private"),
        (("--option", "full_dates"), "--dates full"),
        (("--dates", "kept"), "'removed'"),
    ],
)
def test_what_is_not_offered_is_wrong_usage_and_explained(home, source, tmp_path, arguments, said):
    code, _, told = run(source, tmp_path / "out", *arguments)
    assert code == 2
    assert said in told.replace("│ ", "").replace(" │", "")
    assert not (tmp_path / "out").exists()


def test_a_list_that_cannot_be_read_is_an_error(home, source, tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run(source, tmp_path / "out", "--safe-private", tmp_path / "nowhere.csv")
    assert not (tmp_path / "out").exists()


def test_a_hospital_called_after_the_patient_is_refused_without_a_name(home, phantom, tmp_path):
    attributes = {"PatientName": "Zqmarien^Ann", "InstitutionName": INSTITUTION}
    write_phantom(phantom, tmp_path / "in", attributes=attributes)
    code, _, told = run(tmp_path / "in", tmp_path / "out", "--option", "retain_institution_identity")
    assert code == 1
    assert "InstitutionName holds a word of a name" in told
    assert "Zqmarien" not in told
