"""Runs the cases of a plan against one node: arms a point, pushes a series, and does what belongs to its firing.

The lanes run beside each other, so that the node is hit in all its roles at once and the run is over soon.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from covnode.chaos.ground import Ground
from covnode.chaos.plan import Case, NodePlan, chains, find
from covnode.chaos.points import OF_JOBS, Need
from covnode.chaos.pushes import PushedSeries
from covnode.chaos.switches import Action, Firing

FROZEN_S = 15.0
_FIRES_S = 400.0
_PUSHES = 3


@dataclass(frozen=True)
class CaseRun:
    """What was seen of one case.

    Attributes
    ----------
    firings
        One for each time that the point was reached.
    node
        Name of the node that it was done to.
    series
        Number of the series that was pushed for it, or was on its way by then.
    took_s
        Until the point was reached and what belongs to it was done.
    """

    node: str
    case: Case
    firings: tuple[Firing, ...]
    series: int
    took_s: float

    @property
    def has_fired(self) -> bool:
        """Whether the point was reached as often as it was to be."""
        return len(self.firings) == self.case.times


class Storm:
    """What a plan has done to one node.

    Parameters
    ----------
    tell
        Is told of each case that is over.
    """

    def __init__(self, ground: Ground, plan: NodePlan, tell: Callable[[CaseRun], None]) -> None:
        self._ground = ground
        self._plan = plan
        self._tell = tell
        self._frozen: set[int] = set()
        self._pacs = threading.Lock()

    def run(self) -> list[CaseRun]:
        """Run all cases, and return when nothing is on its way through the node any more, or stands too long."""
        try:
            with ThreadPoolExecutor(len(self._plan.lanes)) as pool:
                try:
                    runs = [run for lane in pool.map(self._lane, self._plan.lanes) for run in lane]
                except BaseException:
                    self._ground.stopping.set()
                    raise
        finally:
            for pid in list(self._frozen):
                self._thaw(pid)
        self._ground.wait_idle()
        return runs

    def _lane(self, cases: Sequence[Case]) -> list[CaseRun]:
        return [run for chain in chains(cases) for run in self._chain(chain)]

    def _chain(self, cases: Sequence[Case]) -> list[CaseRun]:
        """Run cases that hit the same series, one after the other, and return when it came to its end."""
        pushed: list[PushedSeries] = []
        with contextlib.ExitStack() as until_settled:
            runs = [self._run(case, pushed, until_settled) for case in cases if not self._ground.stopping.is_set()]
            for series in pushed:
                self._ground.wait_settled(series)
        return runs

    def _run(self, case: Case, pushed: list[PushedSeries], until_settled: contextlib.ExitStack) -> CaseRun:
        started_s = time.monotonic()
        firings: list[Firing] = []
        with self._need(case, pushed):
            for _ in range(case.times):
                self._ground.switches.arm(case.point.name, case.action)
                firing = self._reached(case, pushed)
                if firing is None:
                    self._ground.switches.disarm(case.point.name)
                    break
                firings.append(firing)
                if case.late_slice:
                    self._push(pushed[-1])
                if case.action is Action.FREEZE and case.point.role in OF_JOBS:
                    until_settled.enter_context(self._ground.standby(case.point.role))
                self._finish(case, firing)
        run = CaseRun(self._plan.name, case, tuple(firings), pushed[-1].number, time.monotonic() - started_s)
        self._tell(run)
        return run

    def _reached(self, case: Case, pushed: list[PushedSeries]) -> Firing | None:
        """Return how the point was reached; pushes a series for it, and another where the first went past it."""
        point, ground = case.point.name, self._ground
        for _ in range(_PUSHES):
            if not pushed or ground.has_settled(pushed[-1]):
                series = ground.modality.make(case.point.need)
                pushed.append(series)
                self._push(series, but=int(case.late_slice))
            series = pushed[-1]
            ground.wait_for(
                partial(ground.switches.firing, point), _FIRES_S, unless=partial(ground.has_settled, series)
            )
            firing = ground.switches.firing(point)
            if firing is not None or not ground.has_settled(series):
                return firing
        return None

    def _push(self, series: PushedSeries, *, but: int = 0) -> None:
        """Push in a thread of its own: it may last until the node is back."""
        threading.Thread(target=self._ground.modality.push, args=(series,), kwargs={"but": but}, daemon=True).start()

    def _finish(self, case: Case, firing: Firing) -> None:
        """Do what belongs to an action beside what the failpoint itself does."""
        if firing.action is Action.FREEZE:
            self._frozen.add(firing.pid)
            self._ground.stopping.wait(FROZEN_S)
            self._thaw(firing.pid)
        elif firing.action is Action.CUT:
            self._ground.database.cut(lambda: self._ground.switches.release(case.point.name))

    @contextlib.contextmanager
    def _need(self, case: Case, pushed: list[PushedSeries]) -> Iterator[None]:
        """Bring about what must be for the point to be reached."""
        switches = self._ground.switches
        if case.point.need is Need.PACS_AWAY:
            with self._pacs:
                self._ground.pacs.away()
                try:
                    yield
                finally:
                    self._ground.pacs.back()
        elif case.point.need is Need.CHILD_KILLED:
            switches.arm(find("infer.begun").name, Action.KILL)
            yield
        elif case.point.need is Need.WORKER_LOST:
            switches.arm(find("work.claimed").name, Action.LOST)
            yield
        elif case.point.need is Need.JOB_LOST:
            pushed.append(self._ground.modality.make())
            with self._ground.paused():
                self._push(pushed[-1])
                self._ground.wait_for(partial(self._ground.has_lost_job, pushed[-1]), _FIRES_S)
            yield
        else:
            yield

    def _thaw(self, pid: int) -> None:
        self._frozen.discard(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
