"""What runs in the worker's child process: its set-up, the loading of the models, one series after the other.

Called by the worker through its pool; torch loads here alone. What goes wrong comes back as an error without a value of
the data set in it.
"""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from covnode.errors import CovnodeError, OutOfMemory, StageFailed
from covnode.logs import configure_logs
from covnode.pipeline.analysis import Analysed
from covnode.records.job import AnalysisClaim
from covnode.records.result import AnalysisResult
from covnode.records.series import DeidentifiedSeries
from covnode.records.shadow import ShadowAnswer
from covnode.wiring.plan import InferencePlan

_FIRST_TO_GO = "900"

T = TypeVar("T")

_shown_percent: ctypes.c_int | None = None


def enter_child(percent: ctypes.c_int, log_level: str) -> None:
    """Set the child up: quiet libraries, progress to the parent, death with the parent, and at once when asked to."""
    global _shown_percent  # noqa: PLW0603 (the pool hands state to its child only through the initialiser)
    _shown_percent = percent
    configure_logs(log_level, "inference")
    # The pool's own handler, in Python, waits for native code to return.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        # Where the kernel must kill something for its memory, it is this child, which is replaced.
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A worker that was killed outright must not leave a child that goes on with a job that is no longer its own.
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _show(percent: int) -> None:
    if _shown_percent is not None:
        _shown_percent.value = percent


def load_in_child(plan: InferencePlan) -> CovnodeError | None:
    """Load the models of the plan, and those of its shadows, before the first series; return what refuses them."""

    def load() -> None:
        from covnode.wiring.inference import load_models  # noqa: PLC0415 (torch loads in the child alone)
        from covnode.wiring.shadowing import load_shadows  # noqa: PLC0415

        load_models(plan.settings, plan.installed_models, plan.device, plan.slices_at_once)
        load_shadows(plan)

    return _safely(plan, load)


def infer_in_child(plan: InferencePlan, claim: AnalysisClaim, series: DeidentifiedSeries) -> Analysed | CovnodeError:
    """Analyse one series."""

    def infer() -> Analysed:
        from covnode.wiring.inference import infer_series  # noqa: PLC0415 (torch loads in the child alone)

        return infer_series(plan, claim, series, _show)

    return _safely(plan, infer)


def shadow_in_child(
    plan: InferencePlan, series: DeidentifiedSeries, result: AnalysisResult
) -> tuple[ShadowAnswer, ...] | CovnodeError:
    """Let the shadows answer to one series that was analysed."""

    def answer() -> tuple[ShadowAnswer, ...]:
        from covnode.wiring.shadowing import shadow_answers  # noqa: PLC0415 (torch loads in the child alone)

        return shadow_answers(plan, series, result)

    return _safely(plan, answer)


def _safely(plan: InferencePlan, run: Callable[[], T]) -> T | CovnodeError:
    try:
        return run()
    except CovnodeError as error:
        return error
    except MemoryError:
        return OutOfMemory(f"out of memory on {plan.device}")
    except Exception as error:  # noqa: BLE001 (the edge: an error's text may quote a data set, its type and place may not)
        place = traceback.extract_tb(error.__traceback__)[-1]
        return StageFailed(f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}")
