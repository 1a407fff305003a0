"""Shadows, as the worker sees them: after each analysis that ended they answer in its child, and the answers are kept.

The result and its deliveries are on their way by then: a shadow delays the next analysis and changes nothing. What goes
wrong is logged, and no answer is missed by anybody.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy.orm import Session

from covnode.errors import CovnodeError
from covnode.logs import get_logger
from covnode.pipeline.analysis import Analysed
from covnode.records.job import AnalysisClaim
from covnode.records.result import AnalysisResult
from covnode.records.series import DeidentifiedSeries
from covnode.store import shadows
from covnode.store.results import MASKS
from covnode.wiring.inference_child import shadow_in_child
from covnode.wiring.plan import InferencePlan

T = TypeVar("T")

Infer = Callable[[AnalysisClaim, DeidentifiedSeries], Analysed]


class ShadowChild(Protocol):
    """What a worker's inference child does for shadows."""

    def plan(self, out: Path) -> InferencePlan:
        """Return the plan with which the child begins."""
        ...

    def ask(self, function: Callable[..., T | CovnodeError], plan: InferencePlan, *given: object) -> T:
        """Return what a function gives in the child."""
        ...


class Shadows:
    """The shadows of one worker.

    Parameters
    ----------
    folder
        Keeps the masks of the last analysis, whose own folder may have gone to another host.
    """

    def __init__(
        self, transaction: Callable[[], AbstractContextManager[Session]], child: ShadowChild, folder: Path
    ) -> None:
        self._transaction = transaction
        self._child = child
        self._folder = folder
        self._last: tuple[AnalysisClaim, DeidentifiedSeries, AnalysisResult] | None = None

    def beside(self, infer: Infer) -> Infer:
        """Return an inference that keeps what the shadows need of it."""

        def inferred(claim: AnalysisClaim, series: DeidentifiedSeries) -> Analysed:
            analysed = infer(claim, series)
            self._keep(claim, series, analysed)
            return analysed

        return inferred

    def _keep(self, claim: AnalysisClaim, series: DeidentifiedSeries, analysed: Analysed) -> None:
        masks = analysed.objects[0].path.parent / MASKS
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(masks, self._folder / MASKS)
        except OSError as error:
            get_logger().warning("shadows_not_asked", analysis_id=claim.analysis_id, error=type(error).__name__)
            return
        self._last = claim, series, analysed.result

    def answer(self) -> None:
        """Have the shadows answer to the last analysis, and keep it where that ended with a result."""
        last, self._last = self._last, None
        if last is None:
            return
        claim, series, result = last
        log = get_logger().bind(analysis_id=claim.analysis_id)
        try:
            answers = self._child.ask(shadow_in_child, self._child.plan(self._folder), series, result)
            with self._transaction() as session:
                kept = shadows.keep(session, claim, answers)
        except CovnodeError as error:
            log.warning("shadows_failed", reason=str(error))
        except Exception as error:  # noqa: BLE001 (the edge: a shadow ends no work)
            log.error("shadows_failed", error=type(error).__name__)
        else:
            log.info("shadows_answered", kept=kept, failed=[answer.model for answer in answers if answer.error])
