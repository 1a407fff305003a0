import json

import pytest
from scanner_series import SERIES, scanned, sheet_of

from covnode.choose.decision import Candidate, best_of
from covnode.choose.rules import parse_rules
from covnode.choose.score import ScoreSheet
from covnode.records.job import SeriesState

EXCLUDED = {
    "MPR coronal": "reformat",
    "unnamed coronal": "reformat",
    "MIP axial": "projection",
    "localizer": "localizer",
    "protocol page": "screen",
    "screen save": "screen",
    "dose report": "not CT",
}


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return {name: sheet_of(series, folder / name) for name, series in SERIES.items()}


@pytest.mark.parametrize("name", EXCLUDED)
def test_what_is_no_acquisition_of_the_chest_is_left_out_with_a_reason(name, sheets):
    assert EXCLUDED[name] in sheets[name].excluded


@pytest.mark.parametrize("name", sorted(set(SERIES) - set(EXCLUDED)))
def test_whatever_a_later_stage_can_judge_is_not_left_out(name, sheets):
    assert sheets[name].excluded is None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("thin soft", "thin lung"),
        ("thin lung", "thick soft"),
        ("thin lung", "no body part"),
        ("thick soft", "head"),
        ("no body part", "head"),
    ],
)
def test_of_two_series_the_better_one_scores_more(better, worse, sheets):
    assert sheets[better].total > sheets[worse].total


def test_the_best_of_a_whole_study_is_the_thin_soft_one(sheets):
    passing = [Candidate(name, SeriesState.COMPLETE, sheet) for name, sheet in sheets.items() if sheet.excluded is None]
    assert best_of(passing).series_id == "thin soft"
    assert best_of([c for c in passing if c.series_id != "thin soft"]).series_id == "thin lung"


@pytest.mark.parametrize(
    "series",
    [
        scanned(4, 5.0),
        scanned(30, 30.0),
        scanned(BodyPartExamined=None, ImageType=None, SliceThickness=None, ConvolutionKernel=None),
        scanned(ImageType=["DERIVED", "SECONDARY", "AXIAL"]),
        scanned(orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)),
    ],
    ids=["few slices", "gaps", "says next to nothing", "axial but derived", "coronal original"],
)
def test_a_sole_series_goes_on_to_the_stage_that_knows_better(series, tmp_path):
    assert sheet_of(series, tmp_path).excluded is None


def test_a_series_without_body_part_loses_only_the_points_for_it(sheets):
    assert sheets["thick soft"].total - sheets["no body part"].total == 20


@pytest.mark.parametrize(
    ("kernel", "rule"),
    [
        ("B31f", "soft kernel"),
        ("Br40d\\3", "soft kernel"),
        ("STANDARD", "soft kernel"),
        ("FC08", "soft kernel"),
        ("B", "soft kernel"),
        ("B70f", "lung kernel"),
        ("Bl57d", "lung kernel"),
        ("LUNG", "lung kernel"),
        ("FC51", "lung kernel"),
        ("L", "lung kernel"),
        ("BONEPLUS", "bone or edge kernel"),
        ("B80s", "bone or edge kernel"),
    ],
)
def test_kernels_of_several_makers_are_known_for_what_they_are(kernel, rule, tmp_path):
    sheet = sheet_of(scanned(1, ConvolutionKernel=kernel.split("\\")), tmp_path)
    applying = {line.rule for line in sheet.lines if line.applies}
    assert {name for name in applying if "kernel" in name} == {rule}


def test_the_total_is_the_sum_of_the_lines_that_apply(sheets):
    for sheet in sheets.values():
        points = [float(line.effect) for line in sheet.lines if line.applies and line.effect[0] in "+-"]
        assert sheet.total == sum(points)


def test_no_free_text_and_nothing_of_the_person_is_on_the_sheet(tmp_path):
    rules = parse_rules(
        b"""
        [[rule]]
        name = "text"
        when.any = [
            { tag = "SeriesDescription", matches = "doe" },
            { tag = "ProtocolName", matches = "thorax" },
            { tag = "PatientSex", equals = "F" },
            { tag = "PatientAge", greater_than = 18 },
            { tag = "BodyPartExamined", present = true },
            { tag = "SliceThickness", less_than = 2 },
            { tag = "ScanOptions", equals = "HELIX" },
        ]
        score = 1
        """,
        "x",
    )
    told = {"SeriesDescription": "Doe^Jane", "ProtocolName": "secret", "PatientSex": "F", "PatientAge": "077Y"}
    sheet = sheet_of(scanned(3, 1.0, BodyPartExamined="Jane Doe's chest", **told), tmp_path, rules)
    (line,) = sheet.lines
    assert line.value == (
        "SeriesDescription matches; ProtocolName does not match; PatientSex matches; PatientAge matches; "
        "BodyPartExamined matches; SliceThickness 1; ScanOptions absent"
    )
    kept = json.dumps(sheet.model_dump(mode="json"))
    assert not [word for word in ("Doe", "Jane", "secret", "77") if word in kept.replace(rules.sha256, "")]


def test_a_sheet_comes_back_from_json_as_it_was(sheets):
    for sheet in sheets.values():
        assert ScoreSheet.model_validate(json.loads(json.dumps(sheet.model_dump(mode="json")))) == sheet


def test_a_rule_may_give_a_priority_and_of_several_the_most_urgent_holds(tmp_path):
    rules = parse_rules(
        b"[[rule]]\nname='b'\nwhen={tag='Modality', equals='CT'}\npriority='background'\n"
        b"[[rule]]\nname='s'\nwhen={tag='ProtocolName', matches='stat'}\npriority='stat'\n",
        "x",
    )
    urgent = sheet_of(scanned(1, ProtocolName="Thorax STAT"), tmp_path / "a", rules)
    assert urgent.priority == "stat"
    assert [(line.effect, line.applies) for line in urgent.lines] == [
        ("priority background", True),
        ("priority stat", True),
    ]
    assert sheet_of(scanned(1), tmp_path / "b", rules).priority == "background"
    none = parse_rules(b"[[rule]]\nname='n'\nwhen={tag='Modality', equals='MR'}\npriority='stat'\n", "x")
    assert sheet_of(scanned(1), tmp_path / "c", none).priority is None
