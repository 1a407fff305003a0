from datetime import UTC, datetime, timedelta, timezone

import highdicom
import pytest
from ct_series import DEMONSTRATION_MODELS, LESION_MODEL, LUNG_MODEL
from pydicom import dcmread

from covnode.records.result import DEMONSTRATION, ObjectKind, PerSide

DEMONSTRATION_FIGURES = {"CN201", "CN202", "CN203"}
REAL_MODELS = tuple(model.model_copy(update={"demonstration": False}) for model in DEMONSTRATION_MODELS)


def walk(item):
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def concept(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else None


def numbers(path):
    """Concept -> (value, unit), of the numbers of the study and of the segments (by tracking identifier)."""
    found = {}
    for group in walk(dcmread(path)):
        if concept(group) != "125007":
            continue
        (name,) = (item.TextValue for item in group.ContentSequence if concept(item) == "112039")
        for item in group.ContentSequence:
            if item.ValueType == "NUM":
                (value,) = item.MeasuredValueSequence
                key = name if concept(item) == "118565006" else concept(item)
                assert key not in found
                found[key] = float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue
                assert value.FloatingPointValue == float(value.NumericValue)
    return found


def texts(path):
    return [item.TextValue for item in walk(dcmread(path)) if item.ValueType == "TEXT"]


def test_every_figure_of_the_record_is_there_once_with_its_unit(write):
    _, record, objects = write()
    wanted = {
        "Left lung": (record.lung_volume_ml.left, "ml"),
        "Right lung": (record.lung_volume_ml.right, "ml"),
        "Ground glass opacity": (record.ground_glass_ml.total, "ml"),
        "Consolidation": (record.consolidation_ml.total, "ml"),
        "CN110": (record.lung_volume_ml.total, "ml"),
        "CN120": (record.ground_glass_ml.total, "ml"),
        "CN121": (record.ground_glass_ml.left, "ml"),
        "CN122": (record.ground_glass_ml.right, "ml"),
        "CN130": (record.consolidation_ml.total, "ml"),
        "CN131": (record.consolidation_ml.left, "ml"),
        "CN132": (record.consolidation_ml.right, "ml"),
        "CN140": (record.affected_percent.total, "%"),
        "CN141": (record.affected_percent.left, "%"),
        "CN142": (record.affected_percent.right, "%"),
        "CN143": (1.5, "%"),
        "CN144": (20.25, "%"),
        "CN145": (3.75, "%"),
        "CN146": (0.0, "%"),
        "CN147": (2.5, "%"),
        "CN148": (31.125, "%"),
        "CN150": (4.5, "%"),
        "CN151": (6.25, "%"),
        "CN152": (3.0, "%"),
        "CN201": (81.25, "%"),
        "CN202": (41.24, "{score}"),
        "CN203": (9, "{score}"),
    }
    found = numbers(objects[ObjectKind.SR_WITH_DEMONSTRATION].path)
    assert found == {name: (pytest.approx(value, abs=0.00501), unit) for name, (value, unit) in wanted.items()}


def test_the_plain_report_holds_no_figure_of_a_demonstration_model(write):
    _, _, objects = write()
    plain, full = objects[ObjectKind.SR].path, objects[ObjectKind.SR_WITH_DEMONSTRATION].path
    assert set(numbers(full)) - set(numbers(plain)) == DEMONSTRATION_FIGURES
    assert "246112005" in [concept(item) for item in walk(dcmread(full))]
    content = str(dcmread(plain))
    for trace in ("81.25", "41.24", "Moderate", "246112005", *DEMONSTRATION_FIGURES):
        assert trace not in content
        assert trace in str(dcmread(full))


def test_without_a_demonstration_there_is_one_report_with_everything(write):
    _, record, objects = write(result={"models": (LUNG_MODEL, LESION_MODEL, *REAL_MODELS)})
    assert set(objects) == {ObjectKind.SEG, ObjectKind.SR}
    assert set(numbers(objects[ObjectKind.SR].path)) >= DEMONSTRATION_FIGURES
    assert not record.demonstration
    for item in objects.values():
        assert DEMONSTRATION not in str(dcmread(item.path))


def test_only_the_demonstrations_figures_are_withheld(write):
    models = (LUNG_MODEL, LESION_MODEL, DEMONSTRATION_MODELS[0], REAL_MODELS[1])
    _, _, objects = write(result={"models": models})
    plain = set(numbers(objects[ObjectKind.SR].path))
    assert {"CN202", "CN203"} <= plain
    assert "CN201" not in plain
    assert ObjectKind.SR_WITH_DEMONSTRATION in objects


def test_a_demonstration_that_only_finds_lungs_withholds_nothing_but_says_so(write):
    lungs = LUNG_MODEL.model_copy(update={"demonstration": True})
    _, _, objects = write(result={"models": (lungs, LESION_MODEL, *REAL_MODELS)})
    assert set(objects) == {ObjectKind.SEG, ObjectKind.SR}
    assert DEMONSTRATION in dcmread(objects[ObjectKind.SR].path).SeriesDescription
    assert set(numbers(objects[ObjectKind.SR].path)) >= DEMONSTRATION_FIGURES


def test_every_object_says_that_it_is_a_demonstration_within_the_length_of_its_attributes(write):
    _, _, objects = write()
    for kind, item in objects.items():
        dataset = dcmread(item.path)
        assert DEMONSTRATION in dataset.SeriesDescription
        assert len(dataset.SeriesDescription) <= 64
        if kind is not ObjectKind.SEG:
            assert any(DEMONSTRATION in text for text in texts(item.path))


def test_a_figure_that_was_not_computed_is_left_out_and_the_report_is_partial(write):
    missing = {
        "covid_probability": None,
        "severity_score": None,
        "severity_category": None,
        "ctsi": None,
        "affected_percent": PerSide(total=3.0, left=None, right=4.0),
        "models": (LUNG_MODEL, LESION_MODEL, *REAL_MODELS),
    }
    _, _, objects = write(result=missing)
    found = numbers(objects[ObjectKind.SR].path)
    assert not DEMONSTRATION_FIGURES & set(found)
    assert "CN141" not in found
    assert dcmread(objects[ObjectKind.SR].path).CompletionFlag == "PARTIAL"


def test_a_record_of_before_there_were_zones_makes_a_complete_report(write):
    _, _, objects = write(result={"affected_percent_of_zones": None, "low_attenuation_percent": None})
    assert dcmread(objects[ObjectKind.SR].path).CompletionFlag == "COMPLETE"


def test_status_title_and_observer(write):
    _, _, objects = write()
    for kind in (ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION):
        report = dcmread(objects[kind].path)
        assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
            "COMPLETE",
            "UNVERIFIED",
            "PRELIMINARY",
        )
        assert concept(report) == "126000"
        assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        (observer,) = [item for item in walk(report) if concept(item) == "121012"]
        assert observer.UID.startswith("2.25.")


def test_groups_and_segments_are_tied_together(write):
    made, _, objects = write()
    seg = dcmread(objects[ObjectKind.SEG].path)
    report = highdicom.sr.srread(objects[ObjectKind.SR].path)
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [(g.tracking_identifier, g.tracking_uid) for g in groups] == [
        (s.TrackingID, s.TrackingUID) for s in seg.SegmentSequence
    ]
    for number, group in enumerate(groups, 1):
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert list(reference.referenced_segment_numbers) == [number]
    evidence = {uid for _, _, uid, _ in report.get_evidence()}
    assert evidence == {seg.SOPInstanceUID} | {dcmread(path).SOPInstanceUID for path in made.paths}


def test_every_model_is_named_with_version_digest_and_training_data(write):
    _, record, objects = write()
    said = "\n".join(texts(objects[ObjectKind.SR].path))
    for model in record.models:
        for part in (model.name, model.version, model.sha256 or "no weights", model.training_data):
            assert part in said
    assert "Caution: Slices are thicker than 2 mm." in said


def test_sentences_and_names_outside_ascii_survive(write):
    _, _, objects = write(result={"cautions": ("Schichtdicke ≥ 5 mm, 胸部.",)})
    report = dcmread(objects[ObjectKind.SR].path)
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert report.PatientName == "Müller^Jörg"
    assert "Caution: Schichtdicke ≥ 5 mm, 胸部." in texts(objects[ObjectKind.SR].path)


def test_a_series_that_repeats_one_instance_uid_is_written_and_lists_it_once(write):
    made, _, objects = write("axial", SOPInstanceUID="2.25.77")
    report = dcmread(objects[ObjectKind.SR].path)
    assert len([item for item in walk(report) if concept(item) == "260753009"]) == 1
    assert len(made.paths) > 1


def test_times_follow_the_zone_that_the_source_states(write):
    moment = {"created_at": datetime(2026, 3, 4, 23, 30, tzinfo=UTC)}
    for options, wanted in (
        ({}, ("20260304", "233000", None)),
        ({"TimezoneOffsetFromUTC": "+0130"}, ("20260305", "010000", "+0130")),
        ({"TimezoneOffsetFromUTC": "-0500"}, ("20260304", "183000", "-0500")),
    ):
        _, _, objects = write(result=moment, **options)
        for item in objects.values():
            dataset = dcmread(item.path)
            for name in ("Content", "Series", "InstanceCreation"):
                stated = dataset[f"{name}Date"].value, str(dataset[f"{name}Time"].value)[:6]
                assert (*stated, dataset.get("TimezoneOffsetFromUTC")) == wanted


def test_the_zone_of_the_record_changes_nothing(write):
    east = datetime(2026, 3, 5, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    _, _, objects = write(result={"created_at": east})
    assert dcmread(objects[ObjectKind.SEG].path).ContentDate == "20260304"
