"""A shadow answers after an analysis in its child; that is kept beside what served, and leaves with nothing."""

import json
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from arriving import arrived
from own_models import own_model, tamper
from structlog.testing import capture_logs
from typer.testing import CliRunner

from covnode.cli.app import app
from covnode.errors import LungsNotFound
from covnode.home import Home
from covnode.imaging.upright import UprightStack, lungs_upright
from covnode.infer.bundles import load_bundle
from covnode.infer.lungs import IDENTITY
from covnode.infer.r231 import R231
from covnode.learn.demonstration_data import phantom_volume
from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.pipeline.analysis import AnalysisJob
from covnode.records.job import AnalysisState
from covnode.records.result import AnalysisResult, PerSide
from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import Lung, LungMask
from covnode.settings import Settings
from covnode.store import analyses, arrivals, shadows
from covnode.store.results import load_result
from covnode.store.tables import AnalysisRow, ShadowAnswerRow
from covnode.store.upgrades import upgrade
from covnode.wiring import shadowing
from covnode.wiring.model_store import shipped_models
from covnode.wiring.node import Node
from covnode.wiring.shadows import Shadows
from covnode.wiring.worker import AnalysesInStore, InferenceChild

SHIFT = 0.05
"""Of the linear output: 5 points of the severity."""


def node_at(folder, *names):
    """A node with one series whose analysis is queued, and shadows."""
    home = Home(folder / "home")
    for each in (home.models, home.results):
        each.mkdir(parents=True)
    own_model(home.models, "own-severity", shift=SHIFT)
    own_model(home.models, "own-classifier", "covid-classifier-demo", shift=1e-3)
    tamper(own_model(home.models, "tampered"), None)
    node = Node(home, Settings.model_validate({"worker": {"shadows": names, "lungs": "density"}}))
    upgrade(node.engine)
    with node.transaction() as session:
        (series_id,) = arrivals.record(session, [arrived()], "amend")
        analyses.open_analysis(session, DeidentifiedSeries(series_id, 1, (), "0" * 64))
    phantom = make_phantom(PhantomPreset.COVID_MILD, slices=24, seed=5, size=128)
    write_phantom(phantom, home.deidentified / f"{series_id}-r1")
    return node


class _Child(InferenceChild):
    def close(self):
        self._pool.stop()
        self._pool.join()


@contextmanager
def analysed(node):
    """Run the queued analysis as the worker does; give its id and its shadows, which have not answered yet."""
    with node.transaction() as session:
        (analysis_id,) = session.query(AnalysisRow.analysis_id).one()
    with closing(_Child(node, "cpu", threads=1)) as child:
        beside = Shadows(node.transaction, child, node.home.scratch / "shadow-0")
        AnalysisJob(AnalysesInStore(node, 0), beside.beside(child.infer)).run(analysis_id, 1)
        with node.transaction() as session:
            row = session.get_one(AnalysisRow, analysis_id)
            assert (row.state, row.attempts) == (AnalysisState.ANALYSED, 1)
        yield analysis_id, beside


def answers(node):
    with node.transaction() as session:
        return {row.model: row for row in session.scalars(sa.select(ShadowAnswerRow))}


def test_answers_are_kept_beside_what_served_and_go_into_nothing_that_leaves(tmp_path):
    node = node_at(tmp_path, "own-severity", "tampered", "own-classifier")
    with analysed(node) as (analysis_id, beside):
        beside.answer()
    folder = node.home.results / analysis_id
    result = load_result(folder).result
    kept = answers(node)
    assert kept.keys() == {"own-severity", "own-classifier"}
    severity, classifier = kept["own-severity"], kept["own-classifier"]
    assert (severity.active_model, severity.active_answer) == ("severity-demo", result.severity_score)
    assert severity.answer == pytest.approx(result.severity_score + 100 * SHIFT, abs=0.02)
    assert (classifier.active_answer, classifier.agrees) == (result.covid_probability, True)
    assert classifier.answer == pytest.approx(result.covid_probability, abs=1e-3)

    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) >= 4
    traces = [trace.encode() for row in kept.values() for trace in (row.sha256, row.model)]
    assert not [path.name for path in written if any(trace in path.read_bytes() for trace in traces)]

    node.home.config.write_text("")
    shown = CliRunner().invoke(app, ["models", "show", "own-severity", "--json", "--home", str(node.home.root)])
    (agreement,) = json.loads(shown.stdout)["as_shadow"]
    assert (agreement["beside"], agreement["analyses"], agreement["failed"]) == ("severity-demo", 1, 0)
    assert agreement["mean_difference"] == pytest.approx(100 * SHIFT, abs=0.02)


def test_what_goes_wrong_with_shadows_costs_their_answers_alone(tmp_path):
    node = node_at(tmp_path, "own-severity")
    with analysed(node) as (analysis_id, beside):
        last, fence = beside._last, AnalysisRow.fence

        def change_fence(by):
            with node.transaction() as session:
                session.execute(sa.update(AnalysisRow).values(fence=fence + by))

        change_fence(1)  # another attempt ended it
        beside.answer()
        assert answers(node) == {}
        change_fence(-1)
        beside._last = last
        (node.home.scratch / "shadow-0" / "masks.npz").unlink()
        with capture_logs() as logs:
            beside.answer()
        assert [line["event"] for line in logs] == ["shadows_failed"]
        assert answers(node) == {}
    with node.transaction() as session:
        assert session.get_one(AnalysisRow, analysis_id).state == AnalysisState.ANALYSED


class _Segmenter(R231):
    """Answers with a mask, or finds no lungs."""

    def __init__(self, labels, identity):
        self.identity, self._labels = identity, labels

    def segment(self, volume, min_lungs_ml):
        self.seen = (volume, min_lungs_ml)
        if self._labels is None:
            raise LungsNotFound("no lungs")
        return LungMask(self._labels, self.identity)


def test_masks_are_compared_side_by_side_and_a_segmenter_that_finds_nothing_says_so():
    volume = phantom_volume(make_phantom(PhantomPreset.NORMAL, slices=2, seed=1, size=64))
    volume = replace(volume, voxels_hu=np.zeros((2, 4, 10), dtype=np.int16))
    active, shadow = np.zeros((2, 2, 4, 10), dtype=np.uint8)
    active[:, :, :4], active[:, :, 6:] = Lung.RIGHT, Lung.LEFT
    shadow[:, :, :5] = Lung.RIGHT  # a column more of the right lung, and the left one on the wrong side
    shadow[:, :, 6:] = Lung.RIGHT
    identity = load_bundle(shipped_models() / "severity-demo").identity.model_copy(update={"task": "lungs"})
    seen = shadowing._Seen(
        volume,
        LungMask(active, IDENTITY),
        AnalysisResult.model_construct(
            lung_volume_ml=PerSide(total=6.4, left=3.2, right=3.2), covid_probability=None, severity_score=None
        ),
        750.0,
    )
    found = shadowing._answer(_Segmenter(shadow, identity), IDENTITY, seen)
    assert (found.active_answer, found.answer, found.agrees) == (6.4, round(72 * volume.voxel_ml, 1), None)
    assert found.dice == pytest.approx(2 * 32 / (64 + 72), abs=1e-4)
    found = shadowing._answer(_Segmenter(None, identity), IDENTITY, seen)
    assert (found.answer, found.dice, found.error) == (None, None, "LungsNotFound")


def test_a_segmenter_in_the_shadow_sees_a_tilted_stack_upright_and_the_sites_limit():
    volume = phantom_volume(make_phantom(PhantomPreset.NORMAL, slices=9, seed=1, size=64))
    affine_lps_mm = volume.affine_lps_mm.copy()
    affine_lps_mm[1, 2] = 2 * volume.spacing_mm[1]  # each slice lies two rows behind the one below
    volume = replace(volume, affine_lps_mm=affine_lps_mm)
    upright = UprightStack(volume).volume
    labels = np.zeros(upright.voxels_hu.shape, dtype=np.uint8)
    labels[:, 20:40, 10:20] = Lung.RIGHT
    identity = load_bundle(shipped_models() / "severity-demo").identity.model_copy(update={"task": "lungs"})
    active = lungs_upright(lambda _volume: LungMask(labels, IDENTITY))(volume)
    record = AnalysisResult.model_construct(
        lung_volume_ml=PerSide(total=1.0, left=None, right=1.0), covid_probability=None, severity_score=None
    )
    segmenter = _Segmenter(labels, identity)
    found = shadowing._answer(segmenter, IDENTITY, shadowing._Seen(volume, active, record, 750.0))
    assert found.dice == 1.0
    assert segmenter.seen[1] == 750.0
    assert np.array_equal(segmenter.seen[0].voxels_hu, upright.voxels_hu)


def test_agreement_is_counted_for_each_model_that_served(tmp_path):
    node = node_at(tmp_path)
    with node.transaction() as session:
        first = session.query(AnalysisRow).one()
        base = {"task": "classification", "model": "own", "sha256": "a" * 64, "active_sha256": "b" * 64}
        figures = [("one", 0.9, 0.7, True), ("one", 0.9, 0.2, False), ("one", 0.1, None, None), ("two", 0.3, 0.3, True)]
        for number, (active, served, answer, agrees) in enumerate(figures, start=2):
            session.add(
                AnalysisRow(
                    analysis_id=f"ana-{number}",
                    series_id=first.series_id,
                    revision=number,
                    state=AnalysisState.ANALYSED,
                    input_sha256="0" * 64,
                    queued_at=first.queued_at,
                    state_at=first.state_at,
                )
            )
            session.flush()
            error = None if answer is not None else "LungsNotFound"
            session.add(
                ShadowAnswerRow(
                    analysis_id=f"ana-{number}",
                    **base,
                    active_model=active,
                    active_answer=served,
                    answer=answer,
                    agrees=agrees,
                    error=error,
                )
            )
        session.flush()
        found = shadows.agreement(session, "a" * 64)
        assert shadows.agreement(session, "c" * 64) == []
    assert found == [
        {
            "beside": "one",
            "analyses": 3,
            "failed": 1,
            "agree_percent": 50.0,
            "mean_difference": 0.45,
            "mean_dice": None,
        },
        {
            "beside": "two",
            "analyses": 1,
            "failed": 0,
            "agree_percent": 100.0,
            "mean_difference": 0.0,
            "mean_dice": None,
        },
    ]
