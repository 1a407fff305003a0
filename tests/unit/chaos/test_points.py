"""Every transition that a failpoint sits at exists under the name that the table gives, and every plan uses it."""

import inspect
from collections import Counter

import pytest

from covnode.chaos.failpoints import find, install
from covnode.chaos.journal import CLAIMS, WRITES
from covnode.chaos.plan import chains, full, narrowed, quick
from covnode.chaos.plan import find as find_point
from covnode.chaos.points import POINTS, Need, Role
from covnode.chaos.switches import Action, Switches
from covnode.errors import ConfigurationError
from covnode.store.analyses import MAX_ATTEMPTS


@pytest.mark.parametrize("target", sorted({*(point.target for point in POINTS), *CLAIMS, *WRITES}))
def test_what_a_point_names_exists(target):
    _, _, call = find(target)
    assert inspect.isfunction(call)


def test_a_target_that_is_gone_is_found():
    with pytest.raises(AttributeError):
        find("covnode.wiring.worker:AnalysesInStore.no_more")


def test_names_are_unique_and_begin_with_their_role():
    assert [name for name, count in Counter(point.name for point in POINTS).items() if count > 1] == []
    assert all(point.name.startswith(f"{point.role}.") for point in POINTS)
    assert {point.role for point in POINTS} == set(Role)


def test_quick_kills_at_every_transition_and_full_does_everything_there():
    killed = {case.point for case in quick().cases if case.action is Action.KILL}
    assert killed == set(POINTS)
    done = {(case.point, case.action) for case in full().cases}
    every = {(point, action) for point in POINTS for action in Action if action is not Action.LOST}
    assert every <= done
    assert {case.point.role for case in full().cases if case.action is Action.LOST} == {Role.WORK, Role.SEND}
    assert {case.action for case in quick().cases} == set(Action)


@pytest.mark.parametrize("plan", [quick(), full()], ids=["quick", "full"])
def test_no_lane_shares_a_role_with_another_of_its_node(plan):
    for node in plan.nodes:
        roles = [{case.point.role for case in lane} for lane in node.lanes]
        assert all(roles)
        assert len(roles) == 1 or sum(map(len, roles)) == len(set().union(*roles))
    names = [node.name for node in plan.nodes]
    assert len(names) == len(set(names))
    cases = [case.name for case in plan.cases]
    assert len(cases) == len(set(cases))


def test_what_is_in_the_way_of_other_cases_has_no_lane_beside_it():
    for plan in (quick(), full()):
        for node in plan.nodes:
            needs = {case.point.need for case in node.cases}
            if needs & {Need.WORKER_LOST, Need.JOB_LOST} or Action.CUT in {case.action for case in node.cases}:
                assert len(node.lanes) == 1


def test_only_kills_share_a_series_and_none_is_hit_so_often_that_it_is_given_up():
    for plan in (quick(), full()):
        for lane in (lane for node in plan.nodes for lane in node.lanes):
            groups = list(chains(lane))
            assert [case for group in groups for case in group] == list(lane)
            for group in groups:
                assert len(group) == 1 or {case.action for case in group} == {Action.KILL}
                assert len({case.point.need for case in group}) == 1
                before = {f"{role}.{what}" for role in ("work", "send") for what in ("claiming", "claim.uncommitted")}
                counted = [case for case in group if case.point.name not in before]
                assert sum(case.point.role in {Role.WORK, Role.INFER, Role.SEND} for case in counted) < MAX_ATTEMPTS
    assert max(len(group) for node in quick().nodes for lane in node.lanes for group in chains(lane)) > 3


def test_a_plan_is_narrowed_to_points_and_actions():
    cases = narrowed(full(), ["work.claimed"], [Action.KILL, Action.FREEZE]).cases
    assert {(case.point.name, case.action) for case in cases} == {
        ("work.claimed", Action.KILL),
        ("work.claimed", Action.FREEZE),
    }
    with pytest.raises(ConfigurationError, match="no transition"):
        narrowed(full(), ["work.flown"], [])
    with pytest.raises(ConfigurationError, match="--full"):
        narrowed(quick(), ["door.told"], [Action.FREEZE])


def test_an_unarmed_point_changes_nothing_and_an_armed_one_fires_before_or_after_the_call(tmp_path, monkeypatch):
    switches = Switches(tmp_path)
    seen = []
    for target in {point.target for point in POINTS if point.role is Role.INFER}:
        holder, name, _ = find(target)
        monkeypatch.setattr(holder, name, lambda *_, name=name: seen.append(name) or name)
    install(Role.INFER, switches)
    monkeypatch.setattr(Switches, "reached", lambda _, point, role: seen.append(point))
    holder, name, call = find(find_point("infer.begun").target)
    assert call() == name
    assert seen == ["infer.begun", "infer_series"]
    seen.clear()
    find(find_point("infer.result_saved").target)[2]()
    assert seen == ["save_result", "infer.result_saved"]
