import pytest
from hypothesis import given
from hypothesis import strategies as st

from covnode.choose.decision import Candidate, StudyNow, decide
from covnode.choose.score import ScoreSheet
from covnode.records.job import SeriesState

COMPLETE, RECEIVING, HANDED_OVER = SeriesState.COMPLETE, SeriesState.RECEIVING, SeriesState.HANDED_OVER


def candidate(series_id, total=0.0, state=COMPLETE, **sheet):
    return Candidate(series_id, state, ScoreSheet(revision=1, rules_sha256="r", total=total, **sheet))


def study(*candidates, chosen=None, quiet=True, stat=False):
    return StudyNow(candidates, chosen, quiet, stat)


def chosen(decision):
    return [verdict.series_id for verdict in decision.verdicts if verdict.chosen]


def reasons(decision):
    return {verdict.series_id: (verdict.code, verdict.reason) for verdict in decision.verdicts if not verdict.chosen}


def test_a_quiet_study_gets_its_best_series_and_the_others_a_reason():
    decision = decide(study(candidate("a", 5), candidate("b", 9), candidate("c", 99, excluded="a localizer")), "best")
    assert (chosen(decision), decision.best, decision.replaces) == (["b"], "b", None)
    assert reasons(decision) == {
        "a": ("not_chosen", "b of the same study is analysed: it scores 9, this one 5"),
        "c": ("excluded_by_rule", "a localizer"),
    }


@pytest.mark.parametrize(
    "waiting",
    [
        study(candidate("a"), quiet=False),
        study(candidate("a"), candidate("b", state=RECEIVING)),
        study(candidate("a", state=HANDED_OVER), chosen="a"),
    ],
    ids=["not quiet", "a series is on its way", "nothing is complete"],
)
def test_the_decision_waits(waiting):
    assert decide(waiting, "best").verdicts == ()


@pytest.mark.parametrize("by_rule", [True, False])
def test_stat_does_not_wait(by_rule):
    now = study(
        candidate("a", priority="stat" if by_rule else None),
        candidate("b", state=RECEIVING, total=9),
        quiet=False,
        stat=not by_rule,
    )
    assert chosen(decide(now, "best")) == ["a"]


def test_a_better_series_that_comes_later_takes_the_place_of_the_first():
    decision = decide(study(candidate("a", 5, HANDED_OVER), candidate("b", 9), chosen="a"), "best")
    assert (chosen(decision), decision.best, decision.replaces) == (["b"], "b", "a")


def test_one_that_was_chosen_and_not_yet_taken_in_steps_back_for_a_better_one():
    decision = decide(study(candidate("a", 5, SeriesState.CHOSEN), candidate("b", 9), chosen="a"), "best")
    assert reasons(decision)["a"] == ("not_chosen", "b of the same study is analysed: it scores 9, this one 5")


@pytest.mark.parametrize("total", [4, 5])
def test_a_later_series_that_is_no_better_changes_nothing(total):
    later = candidate("b", total, slices=500)
    decision = decide(study(candidate("a", 5, HANDED_OVER, slices=10), later, chosen="a"), "best")
    assert (chosen(decision), decision.best, decision.replaces) == ([], "a", None)
    assert reasons(decision)["b"][0] == "not_chosen"


def test_an_amended_series_that_was_chosen_is_chosen_again():
    amended = candidate("a", 5, excluded="it says now that it is a localizer")
    decision = decide(study(amended, candidate("b", 4, SeriesState.NOT_CHOSEN), chosen="a"), "best")
    assert (chosen(decision), decision.best, decision.replaces) == (["a"], "a", None)


def test_a_series_in_quarantine_holds_no_place():
    decision = decide(study(candidate("a", 9, SeriesState.QUARANTINED), candidate("b", 1), chosen="a"), "best")
    assert (chosen(decision), decision.best, decision.replaces) == (["b"], "b", None)


def test_what_a_person_chose_stays_the_choice():
    by_hand = candidate("a", -50, HANDED_OVER, by_hand=True, excluded="a reformat")
    decision = decide(study(by_hand, candidate("b", 90), chosen="a"), "best")
    assert chosen(decision) == []
    assert reasons(decision)["b"] == ("not_chosen", "a of the same study is analysed: a person chose it")


def test_where_nothing_passes_every_series_says_why():
    decision = decide(study(candidate("a", excluded="a localizer"), candidate("b", excluded="a MIP")), "best")
    assert chosen(decision) == []
    assert decision.best is None
    assert reasons(decision) == {
        "a": ("excluded_by_rule", "a localizer; no series of the study passes the rules so far"),
        "b": ("excluded_by_rule", "a MIP; no series of the study passes the rules so far"),
    }


@pytest.mark.parametrize(
    ("winner", "loser", "why"),
    [
        ({"slices": 9}, {"slices": 8}, "it has more slices (9, this one 8)"),
        ({"thickness_mm": 1.0}, {"thickness_mm": 2.0}, "its slices are thinner"),
        ({"thickness_mm": 1.0}, {}, "its slices are thinner"),
        ({}, {}, "it came first"),
    ],
)
def test_equals_are_told_apart_and_it_is_said_by_what(winner, loser, why):
    first, second = candidate("w", 5, **winner), candidate("l", 5, **loser)
    decision = decide(study(first, second), "best")
    assert chosen(decision) == ["w"]
    assert why in reasons(decision)["l"][1]
    if winner != loser:
        assert chosen(decide(study(second, first), "best")) == ["w"]


def test_all_takes_every_series_that_no_rule_leaves_out_and_waits_for_none():
    now = study(
        candidate("a", 1),
        candidate("b", -90),
        candidate("c", excluded="a localizer"),
        candidate("d", excluded="a localizer", by_hand=True),
        candidate("e", state=RECEIVING),
        quiet=False,
    )
    decision = decide(now, "all")
    assert chosen(decision) == ["a", "b", "d"]
    assert reasons(decision) == {"c": ("excluded_by_rule", "a localizer")}
    assert (decision.best, decision.replaces) == (None, None)


_CANDIDATES = st.lists(
    st.tuples(st.sampled_from(list(SeriesState)), st.integers(-2, 2), st.booleans(), st.booleans(), st.integers(0, 2)),
    max_size=5,
)


@given(_CANDIDATES, st.integers(0, 5), st.booleans(), st.booleans(), st.sampled_from(["best", "all"]))
def test_no_complete_series_is_passed_over_in_silence(drawn, standing, quiet, stat, mode):
    candidates = tuple(
        candidate(f"s{n}", total, state, excluded="x" if out else None, by_hand=by_hand, slices=slices)
        for n, (state, total, out, by_hand, slices) in enumerate(drawn)
    )
    now = StudyNow(candidates, f"s{standing}", quiet, stat)
    decision = decide(now, mode)
    complete = {c.series_id for c in candidates if c.state == COMPLETE}
    judged = {verdict.series_id for verdict in decision.verdicts}
    must_wait = mode == "best" and not stat and (not quiet or any(c.state == RECEIVING for c in candidates))
    assert judged >= complete or (must_wait and not judged)
    assert all(verdict.chosen or (verdict.code and verdict.reason) for verdict in decision.verdicts)
    assert mode == "all" or len(chosen(decision)) <= 1
    again = decide(StudyNow(tuple(candidates), f"s{standing}", quiet, stat), mode)
    assert again == decision
