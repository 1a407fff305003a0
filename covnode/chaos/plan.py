"""Which cases are run: what happens at which transition, and in which order."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from covnode.chaos.points import OF_JOBS, POINTS, Need, Point, Role
from covnode.chaos.switches import Action
from covnode.errors import ConfigurationError
from covnode.store.analyses import MAX_ATTEMPTS


@dataclass(frozen=True)
class Case:
    """One thing that is done to the node, while series are on their way through it.

    Attributes
    ----------
    late_slice
        The last instance of the series comes when the point has been reached: the next revision begins.
    times
        So often, one after the other, is the point armed while one series is on its way.
    """

    point: Point
    action: Action
    late_slice: bool = False
    times: int = 1

    @property
    def name(self) -> str:
        """What a person calls it."""
        more = " + late slice" if self.late_slice else f" x {self.times}" if self.times > 1 else ""
        return f"{self.point.name} {self.action}{more}"

    @property
    def may_resend(self) -> bool:
        """Whether an object may be at the PACS by then of which the node has no record: it is sent once more."""
        return self.point.role is Role.SEND or self.action is Action.CUT


@dataclass(frozen=True)
class NodePlan:
    """What is done to one node.

    Attributes
    ----------
    lanes
        Run beside each other, the cases of each one after the other: what one lane does must not hide another's.
    """

    name: str
    lanes: tuple[tuple[Case, ...], ...]

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of them."""
        return tuple(case for lane in self.lanes for case in lane)


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes
    ----------
    nodes
        Run beside each other, since what a case takes is mostly waiting.
    small_disk
        Beside them one more node on a disk that fills up.
    """

    name: str
    nodes: tuple[NodePlan, ...]
    small_disk: bool

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of them."""
        return tuple(case for node in self.nodes for case in node.cases)


_LANES: tuple[tuple[Role, ...], ...] = ((Role.DOOR, Role.RECEIVE), (Role.WORK, Role.INFER), (Role.SEND,))
_FREEZE_NODES = 3
_CUT_NODES = 2
_MOST_KILLS = 5
# What these need is over when the case is, so each takes a series of its own.
_OF_ONE_CASE = (Need.PACS_AWAY, Need.WORKER_LOST, Need.JOB_LOST)
# A worker or sender that dies there has not counted an attempt.
_BEFORE_THE_ATTEMPT = ("work.claiming", "work.claim.uncommitted", "send.claiming", "send.claim.uncommitted")
_LATE = (("work.analysed", Action.FREEZE), ("receive.handed_over", Action.KILL), ("send.stored", Action.FREEZE))

# Some of the longer cases, for a run that is to end within minutes: each shows what a kill does not.
_QUICK_MORE = {
    "receive.hand_over.uncommitted": (Action.FREEZE,),
    "receive.record.uncommitted": (Action.CUT,),
    "work.claimed": (Action.LOST,),
    "work.result.uncommitted": (Action.CUT,),
    "send.claimed": (Action.LOST,),
    "send.stored": (Action.CUT,),
}


def quick() -> Plan:
    """Kill -9 at every transition, and some freezes, lost hosts and cuts of the database."""
    kills = [Case(point, Action.KILL) for point in POINTS]
    more = [Case(point, action) for action in Action for point in POINTS if action in _QUICK_MORE.get(point.name, ())]
    alone = (*more, *_late_slices()[:1], *filter(_is_for_itself, kills))
    beside = _in_lanes("kill", [case for case in kills if case not in alone])
    return Plan("quick", (*beside, NodePlan("more", (alone,))), small_disk=True)


def full() -> Plan:
    """Every action at every transition where it means something."""
    cases = [Case(point, action) for action in Action for point in POINTS if _is_meant(point, action)]
    cases += [*_late_slices(), Case(find("infer.begun"), Action.KILL, times=MAX_ATTEMPTS)]
    alone = tuple(filter(_is_for_itself, cases))

    def beside(action: Action) -> list[Case]:
        return [case for case in cases if case.action is action and case not in alone]

    cuts = tuple(beside(Action.CUT))
    nodes = (
        *_in_lanes("freeze", beside(Action.FREEZE), _FREEZE_NODES),
        *_in_lanes("kill", beside(Action.KILL)),
        *_in_lanes("lost", beside(Action.LOST)),
        *(NodePlan(f"cut-{part + 1}", (cuts[part::_CUT_NODES],)) for part in range(_CUT_NODES)),
        NodePlan("alone", (alone,)),
    )
    return Plan("full", nodes, small_disk=True)


def _late_slices() -> list[Case]:
    return [Case(find(point), action, late_slice=True) for point, action in _LATE]


def _is_meant(point: Point, action: Action) -> bool:
    return action is not Action.LOST or (point.role in OF_JOBS and point.need is Need.SERIES)


def _is_for_itself(case: Case) -> bool:
    """Whether what it needs or does would be in the way of other cases."""
    return case.point.need in {Need.WORKER_LOST, Need.JOB_LOST} or case.times > 1


def _in_lanes(name: str, cases: Sequence[Case], nodes: int = 1) -> Iterator[NodePlan]:
    """Spread cases over nodes that have a lane for each of the roles; neighbours stay together, and make chains."""
    lanes = [tuple(case for case in cases if case.point.role in roles) for roles in _LANES]
    for part in range(nodes):
        parts = (lane[len(lane) * part // nodes : len(lane) * (part + 1) // nodes] for lane in lanes)
        yield NodePlan(f"{name}-{part + 1}", tuple(lane for lane in parts if lane))


def chains(cases: Sequence[Case]) -> Iterator[tuple[Case, ...]]:
    """Group the cases of a lane: those of a group hit the same series, at one transition after the other.

    Kills alone are grouped, in the order of the transitions. A job that dies too often is given up, and a
    receiver that is killed all the time lets nothing through to the other lanes: so the groups are short.
    """
    group: list[Case] = []
    for case in cases:
        if group and not (_may_follow(group[-1], case) and _is_short([*group, case])):
            yield tuple(group)
            group = []
        group.append(case)
    if group:
        yield tuple(group)


def _may_follow(before: Case, case: Case) -> bool:
    plain = all(one.times == 1 and not one.late_slice and one.action is Action.KILL for one in (before, case))
    return plain and before.point.need is case.point.need and case.point.need not in _OF_ONE_CASE


def _is_short(group: Sequence[Case]) -> bool:
    of_jobs = [case for case in group if case.point.role in {Role.WORK, Role.INFER, Role.SEND}]
    attempts = [case for case in of_jobs if case.point.name not in _BEFORE_THE_ATTEMPT]
    return len(group) <= _MOST_KILLS and len(attempts) < MAX_ATTEMPTS


def find(name: str) -> Point:
    """Return a point by its name.

    Raises
    ------
    ConfigurationError
        There is none; the message names them all.
    """
    for point in POINTS:
        if point.name == name:
            return point
    names = ", ".join(point.name for point in POINTS)
    raise ConfigurationError(f"{name} is no transition of the node. They are: {names}.")


def narrowed(plan: Plan, points: Collection[str], actions: Collection[Action]) -> Plan:
    """Return those cases of a plan that are at one of the points and do one of the actions.

    Parameters
    ----------
    points, actions
        Empty: all.

    Raises
    ------
    ConfigurationError
        A point does not exist, or nothing is left.
    """
    wanted = {find(name).name for name in points}

    def is_kept(case: Case) -> bool:
        return (not wanted or case.point.name in wanted) and (not actions or case.action in actions)

    kept = [
        NodePlan(node.name, tuple(filter(None, (tuple(filter(is_kept, lane)) for lane in node.lanes))))
        for node in plan.nodes
    ]
    nodes = tuple(node for node in kept if node.lanes)
    if not nodes:
        raise ConfigurationError(f"Nothing of --{plan.name} is left: with --full there is more.")
    return Plan(plan.name, nodes, small_disk=plan.small_disk and not wanted and not actions)
