"""Which cases are run: what happens at which transition, and in which order."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

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
class Plan:
    """What is run.

    Attributes
    ----------
    lanes
        Run beside each other, the cases of each one after the other: what one lane does must not hide another's.
    alone
        Run one after the other, after the lanes.
    """

    name: str
    lanes: tuple[tuple[Case, ...], ...]
    alone: tuple[Case, ...]
    small_disk: bool

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of them."""
        return (*(case for lane in self.lanes for case in lane), *self.alone)


_LANES: tuple[tuple[Role, ...], ...] = ((Role.DOOR, Role.RECEIVE), (Role.WORK, Role.INFER), (Role.SEND,))
_MOST_KILLS = 5
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
    chosen = _plan("quick", lambda point, action: action is Action.KILL or action in _QUICK_MORE.get(point.name, ()), 1)
    return replace(chosen, alone=tuple(case for case in chosen.alone if case.times == 1))


def full() -> Plan:
    """Every action at every transition where it means something."""
    return _plan("full", _is_meant, len(_LATE))


def _is_meant(point: Point, action: Action) -> bool:
    return action is not Action.LOST or (point.role in OF_JOBS and point.need is Need.SERIES)


def _plan(name: str, chosen: Callable[[Point, Action], bool], late_slices: int) -> Plan:
    cases = [Case(point, action) for action in Action for point in POINTS if chosen(point, action)]
    late = [Case(find(point), action, late_slice=True) for point, action in _LATE[:late_slices]]
    apart = [case for case in cases if case.action is Action.CUT or case.point.need is Need.WORKER_LOST]
    beside = [case for case in (*cases, *late) if case not in apart]
    poison = Case(find("infer.begun"), Action.KILL, times=MAX_ATTEMPTS)
    return Plan(
        name=name,
        lanes=tuple(tuple(case for case in beside if case.point.role in roles) for roles in _LANES),
        alone=(*apart, poison),
        small_disk=True,
    )


def chains(cases: Sequence[Case]) -> Iterator[tuple[Case, ...]]:
    """Group the cases of a lane: those of a group hit the same series, at one transition after the other.

    Kills alone are grouped, in the order of the transitions. A job that dies too often is given up, and a
    receiver that is killed all the time lets nothing through to the other lanes: so the groups are short.
    """
    group: list[Case] = []
    for case in cases:
        if group and not (_may_follow(case) and _may_follow(group[-1]) and _is_short([*group, case])):
            yield tuple(group)
            group = []
        group.append(case)
    if group:
        yield tuple(group)


def _may_follow(case: Case) -> bool:
    plain = case.times == 1 and not case.late_slice
    return plain and case.action is Action.KILL and case.point.need is Need.SERIES


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

    def kept(cases: Sequence[Case]) -> tuple[Case, ...]:
        return tuple(
            case
            for case in cases
            if (not wanted or case.point.name in wanted) and (not actions or case.action in actions)
        )

    lanes = tuple(kept(lane) for lane in plan.lanes)
    left = Plan(plan.name, lanes, kept(plan.alone), small_disk=plan.small_disk and not wanted and not actions)
    if not left.cases:
        raise ConfigurationError(f"Nothing of --{plan.name} is left: with --full there is more.")
    return left
