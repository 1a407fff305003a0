"""The worker's child process with failpoints in it: named by chaos.entry in the place of the worker's own function."""

from functools import cache

from covnode.chaos.failpoints import install, switches_of_the_environment
from covnode.chaos.points import Role
from covnode.errors import CovnodeError
from covnode.pipeline.analysis import Analysed
from covnode.records.job import AnalysisClaim
from covnode.records.series import DeidentifiedSeries
from covnode.wiring.inference_child import infer_in_child as infer_one
from covnode.wiring.plan import InferencePlan


@cache
def _install_once() -> None:
    install(Role.INFER, switches_of_the_environment())


def infer_in_child(plan: InferencePlan, claim: AnalysisClaim, series: DeidentifiedSeries) -> Analysed | CovnodeError:
    """Analyse one series, as the worker's child does."""
    _install_once()
    return infer_one(plan, claim, series)
