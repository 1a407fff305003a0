"""The same analysis written again is the same object; another analysis is another."""

import re
from datetime import UTC, datetime

import pytest
from ct_series import DEMONSTRATION_MODELS, LESION_MODEL, LUNG_MODEL, make_result, make_series
from pydicom import dcmread

from covnode.records.result import ObjectKind
from covnode.report.writer import write_objects


@pytest.mark.parametrize("layout", ["axial", "enhanced"])
def test_writing_twice_gives_the_same_bytes(tmp_path, layout):
    (tmp_path / "ct").mkdir()
    made = make_series(tmp_path / "ct", layout)
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        objects = write_objects(made.volume, made.lungs, made.lesions, make_result(made), tmp_path / name)
        written.append([item.path.read_bytes() for item in objects])
    assert written[0] == written[1]
    assert len(written[0]) == 3


def test_writing_over_an_older_object_replaces_it(tmp_path):
    made = make_series(tmp_path)
    for revision in (1, 2):
        objects = write_objects(made.volume, made.lungs, made.lesions, make_result(made, revision=revision), tmp_path)
    assert dcmread(objects[0].path).SOPInstanceUID == objects[0].sop_instance_uid
    assert not list(tmp_path.glob("*.partial"))


def own_uids(objects):
    """Every UID that we made, by kind and role."""
    found = {}
    for kind, item in objects.items():
        dataset = dcmread(item.path)
        found[kind, "instance"] = dataset.SOPInstanceUID
        found[kind, "series"] = dataset.SeriesInstanceUID
        if kind is ObjectKind.SEG:
            found[kind, "dimensions"] = dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID
            for segment in dataset.SegmentSequence:
                found["tracking", segment.TrackingID] = segment.TrackingUID
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"input_sha256": "1" * 64},
        {"revision": 2},
        {"models": (LUNG_MODEL.model_copy(update={"version": "1.0.1"}), LESION_MODEL, *DEMONSTRATION_MODELS)},
        {"models": (LUNG_MODEL.model_copy(update={"sha256": "c" * 64}), LESION_MODEL, *DEMONSTRATION_MODELS)},
        {"configuration": {"lungs": "r231"}},
    ],
    ids=["input", "revision", "model version", "weights", "configuration"],
)
def test_another_input_model_setting_or_revision_is_another_object(write, change):
    before, after = own_uids(write()[2]), own_uids(write(result=change)[2])
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    assert len(set(before.values())) == len(before)


def test_time_and_figures_do_not_change_a_uid(write):
    change = {"created_at": datetime(2027, 1, 1, tzinfo=UTC), "severity_score": 1.0}
    assert own_uids(write()[2]) == own_uids(write(result=change)[2])


def test_uids_are_well_formed_and_no_trace_of_another_maker_is_left(write):
    for item in write()[2].values():
        dataset = dcmread(item.path)
        for uid in (item.sop_instance_uid, dataset.SeriesInstanceUID, dataset.file_meta.ImplementationClassUID):
            assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)
        assert dataset.file_meta.ImplementationVersionName.startswith("COVNODE")
        assert "highdicom" not in str(dataset.file_meta) + str(dataset)
        assert "ContributingEquipmentSequence" not in dataset


def test_each_object_is_a_series_of_its_own(write):
    datasets = [dcmread(item.path) for item in write()[2].values()]
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 3
    assert [dataset.SeriesNumber for dataset in datasets] == [9001, 9002, 9003]
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 1
