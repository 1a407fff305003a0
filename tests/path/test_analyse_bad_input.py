"""What cannot be analysed gets a stated reason, without a traceback, and does not stop what comes after it."""

import json
import shutil

import pytest
from processes import covnode
from pydicom import dcmread

from covnode.sections import WorkerSettings
from covnode.wiring.offline import analyse_folder
from covnode.wiring.plan import InferencePlan


def edit(folder, change, every=1):
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        if number % every == 0:
            ds = dcmread(path)
            change(ds)
            ds.save_as(path)


def remove_pixels(ds):
    del ds.PixelData


def truncate_pixels(ds):
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 3]


def make_pet(ds):
    ds.Modality = "PT"


def make_localizer(ds):
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def turn(ds):
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def keep_three(folder):
    for path in sorted(folder.glob("*.dcm"))[3:]:
        path.unlink()


def leave_a_gap(folder):
    for path in sorted(folder.glob("*.dcm"))[18:21]:
        path.unlink()


def repeat_positions_with_other_pixels(folder):
    files = sorted(folder.glob("*.dcm"))
    for number, path in enumerate(files[10:14]):
        ds = dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        ds.PixelData = ds.PixelData[::-1]
        ds.save_as(folder / f"again-{number}.dcm")


def only_text(folder):
    for path in folder.glob("*.dcm"):
        path.unlink()
    (folder / "notes.dcm").write_text("these are notes")


BAD = {
    "not DICOM": (only_text, "not_dicom"),
    "no pixel data": (lambda folder: edit(folder, remove_pixels), "pixel_data_missing"),
    "truncated pixel data": (lambda folder: edit(folder, truncate_pixels, every=7), "pixel_data_unreadable"),
    "wrong modality": (lambda folder: edit(folder, make_pet), "wrong_modality"),
    "a localizer": (lambda folder: edit(folder, make_localizer), "localizer"),
    "three slices": (keep_three, "too_few_slices"),
    "mixed orientations": (lambda folder: edit(folder, turn, every=3), "mixed_geometry"),
    "a gap": (leave_a_gap, "slice_missing"),
    "duplicated positions": (repeat_positions_with_other_pixels, "duplicate_positions"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_series_has_its_reason(what, write_series, tmp_path):
    damage, code = BAD[what]
    folder = write_series()
    (folder / "truth.json").unlink()
    (folder / "truth.npz").unlink()
    damage(folder)
    plan = InferencePlan(WorkerSettings(), tmp_path / "no-models", tmp_path / "out")
    (outcome,) = analyse_folder(folder, plan, lambda _percent: None)
    assert outcome.result is None
    assert outcome.code == code
    assert len(outcome.reason) > 10
    assert not list((tmp_path / "out").rglob("*.dcm"))


@pytest.mark.slow
def test_analyse_prints_one_object_a_series_and_goes_on_after_a_bad_one(write_series, tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    bad = write_series("bad", SeriesInstanceUID="2.25.11")
    keep_three(bad)
    shutil.move(bad, folder / "bad")
    shutil.move(write_series("same", SeriesInstanceUID="2.25.12", SOPInstanceUID="2.25.13"), folder / "same")
    shutil.move(write_series("good", SeriesInstanceUID="2.25.14"), folder / "good")

    done = covnode("analyse", str(folder), "--out", str(tmp_path / "out"), "--home", str(tmp_path / "none"), "--json")

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    by_uid = {item["series_instance_uid"]: item for item in json.loads(done.stdout)}
    assert {uid: item["status"] for uid, item in by_uid.items()} == {
        "2.25.11": "not_analysed",
        "2.25.12": "analysed",
        "2.25.14": "analysed",
    }
    assert by_uid["2.25.11"]["lung_volume_ml"] == {"total": None, "left": None, "right": None}
    good, same = by_uid["2.25.14"], by_uid["2.25.12"]
    assert any("share one SOP Instance UID" in caution for caution in same["cautions"])
    assert len(same["slices"]) == len(good["slices"]) == 40
    assert same["lung_volume_ml"] == good["lung_volume_ml"]
    heights = [part["position_mm"] for part in good["slices"]]
    assert heights == sorted(heights, reverse=True)
    assert 0 <= good["covid_probability"] <= 1
    assert 0 <= good["severity_score"] <= 100
    assert good["severity_category"] in {"Low", "Mild", "Moderate", "Severe", "Critical"}
    assert 0 <= good["ctsi"] <= 25
    assert {item["kind"] for item in good["objects"]} == {"seg", "sr", "sr_with_demonstration"}
    for item in good["objects"] + same["objects"]:
        assert dcmread(item["path"], stop_before_pixels=True).StudyInstanceUID


def test_a_users_mistake_is_an_error_without_a_traceback(tmp_path):
    (tmp_path / "empty").mkdir()
    done = covnode("analyse", str(tmp_path / "empty"), "--out", str(tmp_path / "out"), "--home", str(tmp_path))
    assert done.returncode == 1
    assert "holds no files" in done.stderr
    assert "Traceback" not in done.stderr
