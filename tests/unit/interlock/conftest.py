"""Clean objects, made once; every test that changes something changes copies."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from ct_series import make_result, make_series
from delivery_under_test import Delivery

from covnode.imaging.mask_file import StoredMasks
from covnode.report.writer import write_objects


@pytest.fixture(scope="session")
def deliver(tmp_path_factory):
    """Make a clean delivery of a series in a layout."""

    plain = {}

    def make(layout="axial", *, result=None, relabel=None, **options):
        is_plain = not result and not options and relabel is None
        if is_plain and layout in plain:
            return plain[layout]
        folder = tmp_path_factory.mktemp(layout)
        (folder / "ct").mkdir()
        made = make_series(folder / "ct", layout, **options)
        if relabel is not None:
            made = replace(made, lungs=replace(made.lungs, labels=relabel[made.lungs.labels]))
        record = make_result(made, **(result or {}))
        objects = write_objects(made.volume, made.lungs, made.lesions, record, folder)
        masks = StoredMasks(made.lungs.labels, made.lesions.labels, made.volume.affine_lps_mm)
        delivery = Delivery({item.kind: item.path for item in objects}, record, masks, list(made.paths))
        if is_plain:
            plain[layout] = delivery
        return delivery

    return make
