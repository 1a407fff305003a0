"""A site's own training and its evaluation: a manifest in, a bundle and a report out."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from site_volumes import write_site

from covnode.errors import ConfigurationError
from covnode.infer.bundles import load_bundle
from covnode.learn import site_data
from covnode.learn.evaluation import evaluate
from covnode.learn.manifest import read_manifest
from covnode.learn.site_training import EPOCHS, HELD_OUT, TRAINING, SitePlan, train_site


class Told:
    def __init__(self):
        self.epochs, self.ready = [], []

    def volumes(self, done, total):
        self.ready.append((done, total))

    def epoch(self, epoch):
        self.epochs.append(epoch)


def plan_of(data, out, task="classification", **changed):
    usual = {
        "task": task,
        "data": data,
        "out": out,
        "name": "site-model",
        "network": "densenet3d",
        "epochs": 2,
        "patience": 5,
        "batch": 2,
        "learning_rate": 1e-3,
        "decay": 0.9,
        "held_out_percent": 30,
        "seed": 0,
        "device": "cpu",
    }
    return SitePlan(**{**usual, **changed})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    manifest = write_site(folder)
    told = Told()
    bundle = train_site(plan_of(manifest, folder / "out"), told)
    return folder, manifest, bundle, told


def test_training_writes_a_bundle_that_loads_and_says_what_it_is(site):
    _, _, bundle, told = site
    identity = load_bundle(bundle).identity
    assert (identity.name, identity.task, identity.demonstration) == ("site-model", "classification", False)
    assert "of the site" in identity.training_data
    assert [epoch.number for epoch in told.epochs] == [1, 2]
    assert told.ready[-1] == (7, 7)


def test_training_writes_its_epochs_and_both_sides_of_the_split(site):
    folder, _, _, told = site
    with (folder / "out" / EPOCHS).open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["training_loss"]) for row in rows] == [epoch.training_loss for epoch in told.epochs]
    sides = [
        {row.patient for row in read_manifest(folder / "out" / name, "classification")} for name in (TRAINING, HELD_OUT)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 6


def test_a_training_goes_on_where_it_stopped_and_reads_no_volume_twice(site, monkeypatch):
    folder, manifest, _, _ = site
    monkeypatch.setattr(site_data, "segment_lungs", lambda volume: pytest.fail("read again"))
    told = Told()
    train_site(plan_of(manifest, folder / "out", epochs=3), told)
    assert [epoch.number for epoch in told.epochs] == [3]
    with pytest.raises(ConfigurationError, match="another network"):
        train_site(plan_of(manifest, folder / "out", network="resnet10"), Told())


def test_evaluation_reports_figures_that_follow_from_its_answers(site):
    folder, manifest, bundle, _ = site
    report = evaluate(bundle, manifest, folder / "report", "cpu", lambda done: None)
    assert json.loads((folder / "report" / "report.json").read_text()) == report
    assert (report["volumes"], report["patients"]) == (7, 6)
    truth = np.array([one["truth"] for one in report["answers"]]) > 0
    found = np.array([one["answer"] for one in report["answers"]]) >= 0.5
    (tn, fp), (fn, tp) = report["figures"]["confusion_matrix"]
    assert (tn, fp, fn, tp) == tuple(
        int(x.sum()) for x in (~truth & ~found, ~truth & found, truth & ~found, truth & found)
    )
    assert report["figures"]["accuracy"]["value"] == pytest.approx((tn + tp) / 7)
    page = (folder / "report" / "report.html").read_text()
    for plot in ("roc", "precision_recall", "calibration", "confusion"):
        assert f"{plot}.png" in page
        picture = np.asarray(Image.open(folder / "report" / f"{plot}.png"))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3
    assert "demonstration" not in page


def test_a_severity_network_is_trained_and_its_classes_are_counted(site, tmp_path):
    folder, manifest, _, _ = site
    scores = folder / "scores.csv"
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    lines = "".join(f"{row['path']},{row['patient']},{55 * int(row['label'])}\n" for row in rows)
    scores.write_text("path,patient,score\n" + lines)
    shutil.copytree(folder / "out" / "cache", tmp_path / "cache")
    bundle = train_site(plan_of(scores, tmp_path, task="severity", epochs=1), Told())
    report = evaluate(bundle, scores, tmp_path, "cpu", lambda done: None)
    assert report["task"] == "severity"
    off = report["figures"]["classes_off"]
    assert sum(off.values()) == 7
    assert report["figures"]["within_one_class_percent"] == pytest.approx(
        100 * (off["exact"] + off["one class off"]) / 7
    )
    assert "within one class" in (tmp_path / "report.html").read_text()


def test_a_volume_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.dcm").write_bytes(b"no DICOM")
    (tmp_path / "data.csv").write_text("path,patient,label\np,1,0\np,2,1\n")
    with pytest.raises(ConfigurationError, match="p cannot be used"):
        train_site(plan_of(tmp_path / "data.csv", tmp_path / "out"), Told())
