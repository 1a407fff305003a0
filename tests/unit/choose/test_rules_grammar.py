import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covnode.choose.conditions import holds
from covnode.choose.grammar import condition_of
from covnode.choose.patterns import LONGEST_VALUE, compile_pattern, found
from covnode.choose.rules import SHIPPED, load_rules, parse_rules
from covnode.errors import ConfigurationError

VALUES = {
    "Modality": ("CT",),
    "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
    "SliceThickness": (1.5,),
    "axial": (True,),
    "slices": (120.0,),
    "SeriesDescription": ("Lunge 1.5 B60f",),
}


def rule(when="{ tag = 'Modality', equals = 'CT' }", effect="score = 1", name="one"):
    return f"[[rule]]\nname = '{name}'\nwhen = {when}\n{effect}\n"


def refusal(text):
    with pytest.raises(ConfigurationError) as refused:
        parse_rules(text.encode(), "my.toml")
    return str(refused.value)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"tag": "Modality", "equals": "ct"}, True),
        ({"tag": "Modality", "not_equals": "CT"}, False),
        ({"tag": "ImageType", "equals": "AXIAL"}, True),
        ({"tag": "ImageType", "not_equals": "AXIAL"}, False),
        ({"tag": "ImageType", "not_equals": "MIP"}, True),
        ({"tag": "ImageType", "in": ["MPR", "axial"]}, True),
        ({"tag": "SliceThickness", "less_than": 1.5}, False),
        ({"tag": "SliceThickness", "greater_than": 1}, True),
        ({"tag": "SliceThickness", "range": [1.5, 3]}, True),
        ({"tag": "SliceThickness", "range": [1.6, 3]}, False),
        ({"tag": "axial", "equals": True}, True),
        ({"tag": "slices", "in": [120, 121]}, True),
        ({"tag": "SeriesDescription", "matches": r"\blunge\b"}, True),
        ({"tag": "SeriesDescription", "matches": "^B60"}, False),
        ({"tag": "ContrastBolusAgent", "present": False}, True),
        ({"tag": "Modality", "present": True}, True),
        ({"all": [{"tag": "axial", "equals": True}, {"not": {"tag": "slices", "less_than": 10}}]}, True),
        ({"any": [{"tag": "axial", "equals": False}, {"tag": "slices", "less_than": 10}]}, False),
    ],
)
def test_a_condition_holds_as_it_reads(condition, expected):
    assert holds(condition_of(condition), VALUES) is expected


@pytest.mark.parametrize(
    "condition",
    [
        {"tag": "Modality", "equals": "CT"},
        {"tag": "Modality", "not_equals": "CT"},
        {"tag": "Modality", "in": ["CT"]},
        {"tag": "Modality", "matches": ""},
        {"tag": "SliceThickness", "less_than": 1},
        {"tag": "SliceThickness", "greater_than": 1},
        {"tag": "SliceThickness", "range": [0, 1]},
    ],
)
def test_an_absent_value_fulfils_no_comparison(condition):
    assert not holds(condition_of(condition), {})


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_range_is_neither_below_nor_above(low, high, value):
    low, high = sorted((low, high))
    values = {"SliceThickness": (value,)}
    below = holds(condition_of({"tag": "SliceThickness", "less_than": low}), values)
    above = holds(condition_of({"tag": "SliceThickness", "greater_than": high}), values)
    within = holds(condition_of({"tag": "SliceThickness", "range": [low, high]}), values)
    assert within is not (below or above)


@given(st.dictionaries(st.sampled_from(["Modality", "SeriesDescription"]), st.tuples(st.text()), max_size=2))
def test_not_turns_any_condition_round(values):
    inner = {"any": [{"tag": "Modality", "equals": "CT"}, {"tag": "SeriesDescription", "matches": "lung"}]}
    assert holds(condition_of({"not": inner}), values) is not holds(condition_of(inner), values)


_WORDS = st.sampled_from(["tag", "all", "any", "not", "equals", "range", "matches", "Modality"])
_LEAVES = st.none() | st.booleans() | st.floats() | _WORDS | st.text(max_size=8)


@given(st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_WORDS, inner, max_size=3), max_leaves=8))
def test_whatever_is_no_condition_is_refused_in_words(value):
    """No other error comes out, whatever a file holds."""
    try:
        condition = condition_of(value)
    except ConfigurationError as error:
        said = str(error)
    else:
        said = f"holds: {holds(condition, VALUES)}"
    assert said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rule("{ tag = 'Modalty', equals = 'CT' }"), "rule 'one': there is no 'Modalty'; is Modality meant?"),
        (rule("{ tag = 'coverage', equals = 1 }"), "is coverage_mm meant?"),
        (rule("{ tag = 'Modality', equal = 'CT' }"), "there is no 'equal'; is 'equals' meant?"),
        (rule("{ tag = 'Modality', equals = 'CT', present = true }"), "exactly one comparison"),
        (rule("{ tag = 'Modality', less_than = 3 }"), "this compares a number, and the values are text"),
        (rule("{ tag = 'SliceThickness', equals = 'thin' }"), "a number is needed"),
        (rule("{ tag = 'SliceThickness', less_than = nan }"), "a number is needed"),
        (rule("{ tag = 'SliceThickness', range = [3, 1] }"), "no value lies between"),
        (rule("{ tag = 'axial', equals = 1 }"), "true or false"),
        (rule("{ tag = 'Modality', in = [] }"), "not an empty one"),
        (rule("{ tag = 'Modality', matches = '(' }"), "the pattern does not compile: missing )"),
        (rule("{ tag = 'Modality', matches = '(?=a)b' }"), "the pattern does not compile"),
        (rule(f"{{ tag = 'Modality', matches = '{'a' * 201}' }}"), "longer than 200"),
        (rule("{ tag = 'PatientName', equals = 'x' }"), "no rule may ask for it"),
        (rule("{ tag = 'PatientID', equals = 'x' }"), "no rule may ask for it"),
        (rule("{ tag = 'StudyInstanceUID', equals = 'x' }"), "no rule may ask for it"),
        (rule("{ tag = 'AcquisitionDate', present = true }"), "no rule may ask for it"),
        (rule("{ tag = 'PixelData', present = true }"), "neither text nor numbers"),
        (rule("{ all = [] }"), "not an empty one"),
        (rule("{ both = [] }"), "there is no 'both'"),
        (rule("'__import__(1)'"), "a condition is a table"),
        (rule("{ not = " * 10 + "{ tag = 'Modality', equals = 'CT' }" + " }" * 10), "deep in each other"),
        (rule(effect=""), "exactly one effect"),
        (rule(effect="score = 1\nexclude = 'x'"), "exactly one effect"),
        (rule(effect="score = inf"), "'score' is a number"),
        (rule(effect="score = 5000"), "no greater than 1000"),
        (rule(effect="exclude = ''"), "'exclude' is a text"),
        (rule(effect="priority = 1"), "'priority' is one of stat, routine, background"),
        (rule(effect="priority = 'urgent'"), "'priority' is one of stat, routine, background"),
        (rule(effect="scor = 1"), "there is no 'scor'; is 'score' meant?"),
        (rule() + rule(), "another rule of this name"),
        ("[[rule]]\nscore = 1\n", "rule 1: 'name' is a text"),
        ("[[rule]]\nname = 'x'\nscore = 1\n", "rule 'x': it has no condition"),
        ("", "no file of rules"),
        ("rule = 3", "no file of rules"),
        (rule() + "[extra]\n", "no file of rules"),
        ("rule = [", "not valid TOML"),
    ],
)
def test_a_faulty_file_is_refused_with_its_name_and_the_way_out(text, said):
    message = refusal(text)
    assert said in message
    assert message.startswith("my.toml")
    assert not message.endswith("?.")


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_rules(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_rules(tmp_path / "binary.toml")


def test_the_rules_that_ship_are_valid_and_say_what_they_are_by_their_digest():
    rules = load_rules(SHIPPED)
    assert {"Modality", "ImageType", "SliceThickness", "ConvolutionKernel"} <= rules.keywords
    assert rules.sha256 != parse_rules(SHIPPED.read_bytes() + b"\n", "x").sha256


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*)*x", "a?" * 60 + "a" * 60, "(a|b|ab)*c"])
def test_no_pattern_is_kept_busy_by_a_value(pattern):
    began_s = time.monotonic()
    found(compile_pattern(pattern), "a" * 100_000 + "!")
    assert time.monotonic() - began_s < 1.0


def test_a_pattern_sees_the_beginning_of_a_long_value_alone():
    pattern = compile_pattern("lung")
    assert found(pattern, " " * (LONGEST_VALUE - 4) + "LUNG")
    assert not found(pattern, " " * LONGEST_VALUE + "lung")


def test_a_value_that_is_no_text_to_anyone_is_compared_all_the_same():
    assert found(compile_pattern("lung"), "\udcff lung \ud800")
