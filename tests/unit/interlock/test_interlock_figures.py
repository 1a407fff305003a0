"""A report that says anything but what the record says is refused."""

import copy
from dataclasses import replace

import pytest
from planting import FULL, SEG, SR, changed, concept, items, refused, remove, setter, walk
from pydicom import dcmread

from covnode.interlock.refusals import Rule
from covnode.records.result import PerSide, SeverityCategory


def value_of(report, code, index=0):
    return items(report, code)[index].MeasuredValueSequence[0]


def stale_number(report):
    value = value_of(report, "CN140")
    value.NumericValue = value.FloatingPointValue = float(value.NumericValue) + 0.02


def stale_text_number_alone(report):
    value_of(report, "CN110").NumericValue = "1.0"


def stale_float_alone(report):
    value_of(report, "CN110").FloatingPointValue = 1.0


def stale_segment_volume(report):
    value = value_of(report, "118565006", 2)
    value.NumericValue = value.FloatingPointValue = float(value.NumericValue) + 1


def number_that_is_no_number(report):
    value_of(report, "CN110").FloatingPointValue = float("nan")


def missing_number(report):
    remove(report, "CN131")


def number_twice(report):
    group = next(item for item in items(report, "125007") if any(concept(i) == "CN110" for i in item.ContentSequence))
    group.ContentSequence.append(copy.deepcopy(items(report, "CN110")[0]))


def unknown_number(report):
    items(report, "CN110")[0].ConceptNameCodeSequence[0].CodeValue = "CN999"


def number_outside(report):
    report.ContentSequence.append(copy.deepcopy(items(report, "CN110")[0]))


def number_in_a_segments_group(report):
    items(report, "125007")[0].ContentSequence.append(copy.deepcopy(items(report, "CN110")[0]))


@pytest.mark.parametrize(
    "mutate",
    [
        stale_number,
        stale_text_number_alone,
        stale_float_alone,
        stale_segment_volume,
        number_that_is_no_number,
        missing_number,
        number_twice,
        unknown_number,
        number_outside,
        number_in_a_segments_group,
    ],
)
@pytest.mark.parametrize("kind", [SR, FULL])
def test_numbers_that_are_not_the_records(deliver, tmp_path, kind, mutate):
    assert refused(changed(deliver(), tmp_path, **{str(kind): mutate})) == Rule.FIGURE


def test_a_record_that_has_moved_on(deliver):
    delivery = deliver()
    for change in (
        {"covid_probability": 0.82},
        {"ctsi": 10},
        {"severity_category": SeverityCategory.SEVERE},
        {"severity_score": None},
        {"affected_percent": PerSide(total=None, left=1.0, right=2.0)},
        {"lung_volume_ml": delivery.result.lung_volume_ml.model_copy(update={"left": 9.0})},
    ):
        result = delivery.result.model_copy(update=change)
        assert refused(replace(delivery, result=result)) == Rule.FIGURE


def test_a_volume_that_the_shown_voxels_do_not_have(deliver):
    """Record and report agree with each other, but not with the segmentation."""
    wrong = PerSide(total=5000.0, left=2000.0, right=3000.0)
    assert refused(deliver(result={"lung_volume_ml": wrong})) == Rule.FIGURE


@pytest.mark.parametrize("code", ["118565006", "CN140", "CN148", "CN150", "CN110"])
def test_a_wrong_unit(deliver, tmp_path, code):
    def mutate(report):
        value_of(report, code).MeasurementUnitsCodeSequence[0].CodeValue = "mm3"

    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.UNIT


def test_a_figure_of_another_zone_or_side(deliver, tmp_path):
    def swap(one, other):
        def mutate(report):
            first, second = value_of(report, one), value_of(report, other)
            first.NumericValue, second.NumericValue = second.NumericValue, first.NumericValue

        return mutate

    for one, other in (("CN144", "CN147"), ("CN146", "CN148"), ("CN151", "CN152")):
        assert refused(changed(deliver(), tmp_path, sr=swap(one, other))) == Rule.FIGURE


def test_a_demonstration_figure_in_the_plain_report(deliver, tmp_path):
    delivery = deliver()
    posing = replace(delivery, objects={SEG: delivery.objects[SEG], SR: delivery.objects[FULL]})
    assert refused(posing) == Rule.DEMONSTRATION_FIGURE
    full = dcmread(delivery.objects[FULL])

    def smuggle(code):
        return lambda report: items(report, "C0034375")[0].ContentSequence.append(copy.deepcopy(items(full, code)[0]))

    for code in ("CN201", "CN202", "CN203", "246112005"):
        assert refused(changed(delivery, tmp_path, sr=smuggle(code))) == Rule.DEMONSTRATION_FIGURE


def test_a_report_that_does_not_say_that_it_is_a_demonstration(deliver, tmp_path):
    def mutate(report):
        for item in walk(report):
            if item.ValueType == "TEXT":
                item.TextValue = item.TextValue.replace("demonstration", "validated")

    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.DEMONSTRATION_PHRASE


@pytest.mark.parametrize("kind", [SR, FULL])
def test_a_report_that_leaves_a_caution_out(deliver, tmp_path, kind):
    (caution,) = deliver().result.cautions

    def mutate(report):
        for item in walk(report):
            if item.ValueType == "TEXT" and item.TextValue == f"Caution: {caution}":
                item.TextValue = "Caution: none."

    assert refused(changed(deliver(), tmp_path, **{str(kind): mutate})) == Rule.CAUTION


def wrong_title(report):
    report.ConceptNameCodeSequence[0].CodeValue = "126001"


def wrong_template(report):
    report.ContentTemplateSequence[0].TemplateIdentifier = "2000"


@pytest.mark.parametrize("mutate", [wrong_title, wrong_template])
def test_another_title(deliver, tmp_path, mutate):
    assert refused(changed(deliver(), tmp_path, sr=mutate)) == Rule.TITLE


def test_a_report_that_claims_to_be_verified(deliver, tmp_path):
    assert refused(changed(deliver(), tmp_path, sr=setter("VerificationFlag", "VERIFIED"))) == Rule.VERIFICATION
