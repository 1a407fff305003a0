"""``covnode deidentify``: files without identity out, or a reason; and a dry run that writes nothing."""

import json
import signal
import subprocess
import sys

import pytest
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.deidentify import key_file
from covnode.errors import ConfigurationError, CovnodeError
from covnode.home import Home
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset

NAME, PATIENT_ID, IN_PRIVATE, NESTED, FILE = "Zqfamily", "ZQID-77120", "Zqprivatex", "Zqnestedxx", "Zqfilename"
SENTINELS = (NAME, PATIENT_ID, IN_PRIVATE, NESTED, FILE)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(PhantomPreset.NORMAL, slices=10, seed=5, size=64)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs the command and gives exit code, stdout and all that was said."""
    monkeypatch.setenv("COVNODE_HOME", str(tmp_path / "home"))
    key_file.create(Home(tmp_path / "home").keys)

    def run(*arguments):
        result = CliRunner().invoke(app, ["deidentify", *map(str, arguments)])
        if isinstance(result.exception, CovnodeError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stdout + result.stderr

    return run


@pytest.fixture
def source(tmp_path, phantom):
    """A folder with a series that has a sentinel in its name, id, private block, nested item and file names."""
    folder = tmp_path / "in"
    write_series(folder / FILE, phantom)
    return folder


def write_series(folder, phantom, **attributes):
    attributes = {"PatientName": f"{NAME}^Ann", "PatientID": PATIENT_ID, **attributes}
    for path in write_phantom(phantom, folder, attributes=attributes).dicom:
        dataset = dcmread(path)
        block = dataset.private_block(0x0029, "COVNODE TEST", create=True)
        inner, outer = Dataset(), Dataset()
        inner.PatientName, inner.InstitutionName = NESTED, NESTED
        outer.ReferencedImageSequence = [inner]
        block.add_new(0x01, "LO", IN_PRIVATE)
        block.add_new(0x02, "SQ", [outer])
        dataset.RequestAttributesSequence = [inner]
        dataset.SharedFunctionalGroupsSequence = [outer]
        dataset.save_as(path.with_name(f"{FILE}-{path.name}"), enforce_file_format=True)
        path.unlink()
    for truth in folder.glob("truth.*"):
        truth.unlink()


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def found_in(content):
    return [sentinel for sentinel in SENTINELS if sentinel.lower().encode() in content.lower()]


def test_nothing_of_the_identity_is_in_the_copies_the_report_or_what_is_said(run, source, tmp_path):
    assert set(found_in(b"".join(files_of(source).values()))) == set(SENTINELS) - {FILE}
    code, _, said = run(source, tmp_path / "out", "--report", tmp_path / "report.json")
    assert code == 0
    written = files_of(tmp_path / "out")
    assert sorted(written) == [f"series-001/{number:05d}.dcm" for number in range(1, 11)]
    report = (tmp_path / "report.json").read_bytes()
    assert not found_in(b"".join([*written.values(), *map(str.encode, written), report, said.encode()]))
    original = dcmread(next(iter((source / FILE).iterdir())))
    for uid in (original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID):
        assert uid.encode() not in report + said.encode()


def test_the_report_says_what_was_done_by_which_rules(run, source, tmp_path):
    _, stdout, _ = run(source, tmp_path / "out", "--report", tmp_path / "report.json", "--json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert json.loads(stdout) == report
    assert report["series"] == [
        {
            "number": 1,
            "folder": "series-001",
            "first_file": 1,
            "files": 10,
            "instances": 10,
            "verdict": "written",
            "reason_code": None,
            "reason": None,
        }
    ]
    assert report["profile"]["code"] == "113100"
    assert "113107" in [option["code"] for option in report["options"]]
    assert report["version"]


def test_the_pseudonyms_are_those_of_the_node(run, source, tmp_path):
    run(source, tmp_path / "out")
    original = dcmread(next(iter((source / FILE).iterdir())))
    copy = dcmread(tmp_path / "out" / "series-001" / "00001.dcm")
    keys = key_file.load(Home(tmp_path / "home").keys).of_generation(1)
    assert copy.SeriesInstanceUID == keys.uid(original.SeriesInstanceUID)
    assert copy.PatientID == keys.patient_id("", PATIENT_ID)


def test_two_runs_give_equal_bytes(run, source, tmp_path):
    run(source, tmp_path / "one")
    run(source, tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert len(files_of(tmp_path / "one")) == 10


def test_a_refused_series_is_named_with_its_reason_and_not_written(run, source, tmp_path, phantom):
    write_series(source / f"{FILE}-burned", phantom, BurnedInAnnotation="YES", SeriesInstanceUID="1.2.840.99999.3")
    code, stdout, said = run(source, tmp_path / "out", "--json")
    assert code == 1
    assert not found_in(said.encode())
    written, refused = json.loads(stdout)["series"]
    assert (written["verdict"], refused["verdict"]) == ("written", "refused")
    assert (refused["number"], refused["reason_code"], refused["folder"]) == (2, "burned_in_text", None)
    assert (refused["first_file"], refused["instances"]) == (11, 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["series-001"]


def test_where_all_is_refused_nothing_lies_in_out(run, source, tmp_path, phantom):
    write_series(source / FILE, phantom, BurnedInAnnotation="YES")
    for path in sorted((source / FILE).iterdir()):
        if dcmread(path).BurnedInAnnotation != "YES":
            path.unlink()
    code, _, said = run(source, tmp_path / "out")
    assert code == 1
    assert "BurnedInAnnotation is YES" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_series_of_one_uid_in_two_studies_are_two(run, source, tmp_path, phantom):
    uid = dcmread(next(iter((source / FILE).iterdir()))).SeriesInstanceUID
    write_series(source / "other", phantom, SeriesInstanceUID=uid, StudyInstanceUID="1.2.840.99999.2")
    code, stdout, _ = run(source, tmp_path / "out", "--json")
    assert code == 0
    assert [series["files"] for series in json.loads(stdout)["series"]] == [10, 10]


def test_what_is_no_dicom_is_counted(run, source, tmp_path):
    (source / f"{FILE}.txt").write_text("no DICOM")
    (source / "empty").touch()
    code, stdout, said = run(source, tmp_path / "out")
    assert code == 0
    assert "Left out 2 files that are not DICOM Part 10." in stdout
    assert not found_in(said.encode())


def test_a_file_that_cannot_be_read_is_named_by_its_number(run, source, tmp_path):
    (source / f"A-{FILE}").write_bytes(bytes(128) + b"DICM" + NAME.encode() * 9)
    (source / f"B-{FILE}").symlink_to(tmp_path / "nowhere")
    code, stdout, said = run(source, tmp_path / "out", "--json")
    assert code == 1
    assert [file["file"] for file in json.loads(stdout)["unreadable"]] == [1, 2]
    assert json.loads(stdout)["series"][0]["first_file"] == 3
    assert not found_in(said.encode())
    assert len(files_of(tmp_path / "out")) == 10


def test_a_link_to_a_folder_is_counted_not_followed(run, source, tmp_path):
    (source / "link").symlink_to(source / FILE)
    code, stdout, _ = run(source, tmp_path / "out", "--json")
    assert (code, json.loads(stdout)["folders_left_out"]) == (1, 1)
    assert json.loads(stdout)["series"][0]["files"] == 10


def test_one_file_may_be_given(run, source, tmp_path):
    code, _, _ = run(min((source / FILE).iterdir()), tmp_path / "out")
    assert code == 0
    assert list(files_of(tmp_path / "out")) == ["series-001/00001.dcm"]


def test_a_file_that_vanishes_refuses_its_series_without_its_name(run, source, tmp_path, monkeypatch):
    def vanishing(series, out, keys, profile):
        raise FileNotFoundError(2, "No such file or directory", str(series.instances[3].path))

    monkeypatch.setattr("covnode.wiring.deidentifying.deidentify_series", vanishing)
    code, stdout, said = run(source, tmp_path / "out", "--json")
    assert (code, json.loads(stdout)["series"][0]["reason_code"]) == (1, "unreadable_file")
    assert not found_in(said.encode())


def test_a_disk_that_is_full_is_an_error_that_names_the_way_out(run, source, tmp_path, monkeypatch):
    def full(series, out, keys, profile):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("covnode.wiring.deidentifying.deidentify_series", full)
    with pytest.raises(ConfigurationError, match=r"No space left on device.*empty folder"):
        run(source, tmp_path / "out")


def test_out_that_is_not_empty_is_refused(run, source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(ConfigurationError, match="not empty: name a folder"):
        run(source, tmp_path / "out")
    assert list(files_of(tmp_path / "out")) == ["mine"]


KILLED_AT_ITS_FIRST_CHECK = """
import os, signal, sys
from covnode.cli.app import app
from covnode.deidentify.leaks import LeakCheck
LeakCheck.verify = lambda self, copy: os.kill(os.getpid(), signal.SIGKILL)
app(["deidentify", *sys.argv[1:]])
"""


def test_a_run_that_was_killed_can_be_repeated_with_the_same_folder(run, source, tmp_path):
    command = [sys.executable, "-c", KILLED_AT_ITS_FIRST_CHECK, source, tmp_path / "out"]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".series-001.draft"]
    (tmp_path / "out" / ".series-009.draft").mkdir()  # as if the input had held more when it was killed
    assert run(source, tmp_path / "out")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["series-001"]


def test_out_within_the_input_is_refused(run, source):
    with pytest.raises(ConfigurationError, match="outside it"):
        run(source, source / "out")
    assert not (source / "out").exists()


def test_a_report_replaces_no_file(run, source, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        run(source, tmp_path / "out", "--report", tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_without_a_node_the_way_out_is_named(run, source, tmp_path):
    with pytest.raises(ConfigurationError, match="covnode init"):
        run(source, tmp_path / "out", "--home", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_dicom_is_an_error(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / FILE).write_text("no DICOM")
    with pytest.raises(ConfigurationError, match="None of the 1 files") as refused:
        run(tmp_path / "in", tmp_path / "out")
    assert FILE not in str(refused.value)


def test_wrong_usage_ends_with_2(run, source, tmp_path):
    assert run(source)[0] == 2
    assert run(tmp_path / "nowhere", tmp_path / "out")[0] == 2
    assert run(source, "--dry-run", "--report", tmp_path / "report")[0] == 2


def test_the_dry_run_lists_nested_attributes_and_writes_nothing(run, source, tmp_path):
    before = files_of(tmp_path)
    code, stdout, said = run(source, tmp_path / "out", "--dry-run", "--json")
    assert code == 0
    assert files_of(tmp_path) == before
    assert not (tmp_path / "out").exists()
    assert not found_in(said.encode())
    rows = {row["path"]: row for row in json.loads(stdout)["attributes"]}
    assert rows["(0029,1002)>(0008,1140)>(0010,0010)"] == {
        "path": "(0029,1002)>(0008,1140)>(0010,0010)",
        "keyword": "PatientName",
        "vr": "PN",
        "action": "X",
        "source": "removed with the sequence that holds it",
        "instances": 10,
    }
    standard = rows["(5200,9229)>(0008,1140)"]
    assert (standard["keyword"], standard["instances"]) == ("ReferencedImageSequence", 10)
    assert rows["(0029,1001)"]["action"] == "X"
    assert rows["(0008,0080)" if "(0008,0080)" in rows else "(0010,0010)"]["source"].startswith("PS3.15 Table E.1-1")


def test_the_dry_run_needs_no_node_and_foretells_a_refusal(run, source, tmp_path, phantom):
    write_series(source / "burned", phantom, BurnedInAnnotation="YES", SeriesInstanceUID="1.2.840.99999.3")
    code, stdout, said = run(source, "--dry-run", "--home", tmp_path / "nowhere")
    assert code == 1
    assert "BurnedInAnnotation is YES" in stdout
    assert "PatientName" in stdout
    assert not found_in(said.encode())


def test_no_file_of_the_input_is_changed(run, source, tmp_path):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*") if path.is_file()}
    run(source, tmp_path / "out")
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}


def test_text_in_pixels_is_refused_or_masked_as_asked_and_the_dry_run_counts_the_frames(run, source, tmp_path):
    for path in (source / FILE).iterdir():
        dataset = dcmread(path)
        pixels = dataset.pixel_array.copy()
        for left in range(4, 34, 5):  # six strokes of a row
            pixels[4:11, left : left + 2] = 3000
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(path)
    _, stdout, _ = run(source, "--dry-run", "--json")
    assert json.loads(stdout)["series"][0]["frames_looked_at"] == 1
    code, stdout, said = run(source, tmp_path / "refused", "--json")
    assert (code, json.loads(stdout)["series"][0]["reason_code"]) == (1, "burned_in_text")
    assert not found_in(said.encode())
    code, _, _ = run(source, tmp_path / "masked", "--burned-in-text", "mask")
    assert code == 0
    assert dcmread(tmp_path / "masked" / "series-001" / "00001.dcm").pixel_array.max() < 3000
