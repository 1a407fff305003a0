"""A series whose pixels were masked delivers like any other, and its result says that it was masked."""

from dataclasses import replace

from delivery_under_test import run_stages
from pydicom import dcmread

from covnode.deidentify import engine
from covnode.deidentify.options import BurnedInText
from covnode.deidentify.profile import node_profile
from covnode.imaging.text import Box
from covnode.records.series import DeidentifiedSeries
from covnode.volume.loading import load_volume


def test_results_on_masked_slices_pass_the_interlock_and_say_so(tmp_path, monkeypatch):
    def one_box(originals):
        image = dcmread(originals[0].path, stop_before_pixels=True)
        return {(image.Rows, image.Columns): (Box(0, 0, 4, 6),)}

    monkeypatch.setattr(engine, "boxes_to_mask", one_box)
    delivery, _ = run_stages(tmp_path, profile=replace(node_profile(), burned_in_text=BurnedInText.MASK))
    delivery.check()
    files = tuple(sorted((tmp_path / "copies").iterdir()))
    volume = load_volume(DeidentifiedSeries("series-1", 1, files, "0" * 64))
    slices = volume.voxels_hu.shape[0]
    said = f"What looked like text was overwritten with air in {slices} of {slices} slices"
    assert any(caution.startswith(said) for caution in volume.cautions)


def test_results_on_slices_that_were_not_masked_say_nothing(tmp_path):
    run_stages(tmp_path, profile=replace(node_profile(), burned_in_text=BurnedInText.MASK))
    files = tuple(sorted((tmp_path / "copies").iterdir()))
    assert not any("overwritten" in caution for caution in load_volume(DeidentifiedSeries("s", 1, files, "0")).cautions)
