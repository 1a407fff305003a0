"""The worker process: claims analyses and has them done by a child process that it can kill.

The child loads the models once and stays; it gets file names and gives back the record. When it crashes, hangs or runs
into a CUDA fault, this process lives on, keeps its lease and starts another child. Neither can see an identity: no
module that holds one is imported, and the kernel opens neither the key file nor the spool to them.
"""

import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import NoReturn, TypeVar

from pebble import ProcessExpired, ProcessPool

from covnode.errors import (
    ConfigurationError,
    CovnodeError,
    OutOfMemory,
    StageFailed,
    StaleClaim,
    StoreAway,
    TransientError,
    WeightsMismatch,
)
from covnode.home import Home
from covnode.logs import get_logger
from covnode.pipeline.analysis import Analysed, AnalysisJob
from covnode.records.job import AnalysisClaim, AnalysisState, JobKind, queue_name
from covnode.records.series import DeidentifiedSeries
from covnode.settings import load_settings
from covnode.store import analyses, deliveries
from covnode.store.folders import unpublished
from covnode.wiring.confinement import confine
from covnode.wiring.devices import devices_of, threads_of
from covnode.wiring.handover import name_of_result, patiently
from covnode.wiring.inference_child import enter_child, load_in_child
from covnode.wiring.inference_child import infer_in_child as _infer_in_child
from covnode.wiring.model_store import report_models
from covnode.wiring.node import Node, RoleOfJobs, hold_lock, open_process, run_jobs
from covnode.wiring.plan import InferencePlan, within_memory
from covnode.wiring.plan import kernel_kills as _kernel_kills
from covnode.wiring.room import needs_of, room_for_jobs
from covnode.wiring.shadows import Shadows

_ROLE = "worker"
_POLL_S = 0.5

T = TypeVar("T")


class InferenceChild:
    """One child process that analyses one series at a time, on one device; a dead one is replaced at the next."""

    def __init__(self, node: Node, device: str, threads: int) -> None:
        self.node = node
        self._device = device
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        # Without a lock, which a killed child would take with it.
        self._percent = self._context.RawValue(ctypes.c_int, 0)
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        arguments = (self._percent, self.node.settings.node.log_level)
        return ProcessPool(max_workers=1, context=self._context, initializer=enter_child, initargs=arguments)

    def infer(self, claim: AnalysisClaim, series: DeidentifiedSeries) -> Analysed:
        """Analyse in the child; where it has too little memory, by a plan that takes less.

        Raises
        ------
        TransientError
            The child died or ran out of time.
        SeriesUnusable, StageFailed
            As the child said.
        OutOfMemory
            Also the plan that takes least has too little memory.
        StaleClaim
            The claim was lost: the child is stopped.
        """
        plan = self.plan(_unpublished_result(self.node.home, claim))
        return within_memory(plan, lambda plan: self._infer(plan, claim, series))

    def plan(self, out: Path) -> InferencePlan:
        """Return the plan with which this child begins; what it makes goes to ``out``."""
        settings, models = self.node.settings, self.node.home.models
        return InferencePlan(settings.worker, models, out, self._device, self._threads, settings.quality)

    def load(self, refused: Callable[[CovnodeError], None]) -> None:
        """Have the child load the models before its first series, and tell what is refused."""

        def loaded(done: "concurrent.futures.Future[CovnodeError | None]") -> None:
            answer = None if done.cancelled() or done.exception() else done.result()
            if isinstance(answer, (ConfigurationError, WeightsMismatch)):
                refused(answer)

        self._pool.schedule(load_in_child, args=(self.plan(self.node.home.scratch),)).add_done_callback(loaded)

    def ask(self, function: Callable[..., T | CovnodeError], plan: InferencePlan, *given: object) -> T:
        """Return what a function gives in the child, or raise what it gives as an error; TransientError: it died."""
        future = self._pool.schedule(function, args=(plan, *given), timeout=plan.settings.timeout_s)
        try:
            answer: T | CovnodeError = future.result()
        except (ProcessExpired, BrokenExecutor, RuntimeError, TimeoutError) as error:
            self._replace_pool()
            raise TransientError(f"the inference process ended early ({type(error).__name__})") from None
        return self._said(answer)

    def _said(self, answer: T | CovnodeError) -> T:
        if isinstance(answer, (OutOfMemory, StageFailed)):
            # A new child begins with all the memory, and without what a fault of the device has left behind.
            self._replace_pool()
        if isinstance(answer, CovnodeError):
            raise answer
        return answer

    def _infer(self, plan: InferencePlan, claim: AnalysisClaim, series: DeidentifiedSeries) -> Analysed:
        kills = _kernel_kills()
        try:
            answer = self._answer(plan, claim, series)
        except (ProcessExpired, BrokenExecutor, RuntimeError) as error:
            # A pool whose only child died while it was idle or starting never works again.
            self._replace_pool()
            if getattr(error, "exitcode", None) == -signal.SIGKILL and _kernel_kills() > kills:
                raise OutOfMemory(f"the kernel ended the inference process on {plan.device}") from None
            raise TransientError(f"the inference process ended early ({type(error).__name__})") from None
        return self._said(answer)

    def _replace_pool(self) -> None:
        self._pool.stop()
        self._pool.join()
        self._pool = self._new_pool()

    def _answer(self, plan: InferencePlan, claim: AnalysisClaim, series: DeidentifiedSeries) -> Analysed | CovnodeError:
        timeout_s = plan.settings.timeout_s
        self._percent.value = 0
        future = self._pool.schedule(_infer_in_child, args=(plan, claim, series), timeout=timeout_s)
        shown = 0
        while True:
            done, _ = concurrent.futures.wait([future], timeout=_POLL_S)
            if done:
                break
            try:
                # Progress that cannot be written now is no reason to lose the work.
                with contextlib.suppress(TransientError):
                    shown = self._show_progress(claim, shown)
            except StaleClaim:
                future.cancel()
                raise
        try:
            answer: Analysed | CovnodeError = future.result()
        except TimeoutError:
            raise TransientError(f"the analysis took longer than {timeout_s:g} s") from None
        return answer

    def _show_progress(self, claim: AnalysisClaim, shown: int) -> int:
        """Write a new percentage down and return what is shown now; StaleClaim when the claim is lost."""
        percent = self._percent.value
        with self.node.transaction() as session:
            if percent != shown:
                analyses.report_progress(session, claim, percent)
            elif not analyses.is_held(session, claim):
                raise StaleClaim("the analysis was taken over, superseded or cancelled")
        return percent


class AnalysesInStore:
    """pipeline.analysis's records, in our tables; knows the claim that this process holds."""

    def __init__(self, node: Node, slot: int) -> None:
        self.node = node
        self._executor_id = node.executor_id(_ROLE, slot)
        self._cache = node.home.scratch / f"copies-{slot}"
        self._held: AnalysisClaim | None = None

    def claim(self, analysis_id: str, enqueues: int) -> AnalysisClaim | None:
        """Take the analysis; TransientError where no files can be seen, so that no attempt is wasted on them."""
        if not self.node.home.deidentified.is_dir():
            raise TransientError("the folder of de-identified files is away: is files.folder mounted?")
        with self.node.transaction() as session:
            self._held = analyses.claim(session, analysis_id, enqueues, self._executor_id)
        return self._held

    def interrupted(self, claim: AnalysisClaim, reason: str) -> None:
        """Keep why an attempt ended early."""
        with self.node.transaction() as session:
            analyses.note_interruption(session, claim, reason)

    def stopping(self) -> None:
        """Count the attempt that is broken off on request as none."""
        if self._held is not None:
            with self.node.transaction() as session:
                analyses.uncount_attempt(session, self._held)

    def series(self, claim: AnalysisClaim) -> DeidentifiedSeries:
        """Return the de-identified files."""
        shutil.rmtree(self._cache, ignore_errors=True)  # of the analysis before this one
        kept, fetched = self.node.home.copy_of(claim.series_id, claim.revision), self._cache / claim.analysis_id
        folder = patiently(
            lambda: self.node.handover.fetched(kept, claim.copy_place, fetched), lambda: self._require_held(claim)
        )
        files = tuple(sorted(folder.glob("*.dcm")))
        if not files:
            raise TransientError("the de-identified files are not there")
        return DeidentifiedSeries(claim.series_id, claim.revision, files, claim.input_sha256)

    def finish(self, claim: AnalysisClaim, analysed: Analysed) -> None:
        """Record the result, name its folder and enqueue a delivery to each destination: in one transaction."""
        destinations = [name for name, peer in self.node.settings.peers.items() if peer.deliver]
        handover, made = self.node.handover, _unpublished_result(self.node.home, claim)
        name = name_of_result(claim.series_id, claim.analysis_id)
        place = patiently(lambda: handover.upload(made, name, str(claim.fence)), lambda: self._require_held(claim))
        about = (analysed.result.cautions, analysed.timings_s, analysed.device, place)
        with self.node.transaction() as session:
            analyses.mark_analysed(session, claim, *about)
            handover.publish(made, self.node.home.results / claim.analysis_id, place)
            for destination in destinations:
                job = deliveries.open_delivery(session, claim.analysis_id, destination)
                self.node.queue.enqueue(session, job)
        with contextlib.suppress(StoreAway):
            handover.settle(made, name, place)

    def _require_held(self, claim: AnalysisClaim) -> None:
        with contextlib.suppress(TransientError), self.node.transaction() as session:
            if not analyses.is_held(session, claim):
                raise StaleClaim("the analysis was taken over, superseded or cancelled")

    def end(self, claim: AnalysisClaim, state: AnalysisState, code: str, reason: str) -> None:
        """Record that there is no result, and why."""
        with self.node.transaction() as session:
            analyses.mark_ended(session, claim, state, code, reason)


def _unpublished_result(home: Home, claim: AnalysisClaim) -> Path:
    """Return the folder of this claim's result: a process that lost its claim changes nobody's."""
    return unpublished(home.results / claim.analysis_id, str(claim.fence))


def run_worker(home: Home, slot: int) -> None:
    """Run the worker of one device until asked to stop.

    Parameters
    ----------
    slot
        The place of the device in worker.devices, or among the CUDA devices of this host.

    Raises
    ------
    ConfigurationError
        There is no such device, or another worker of this home has it.
    """
    node = open_process(home, _ROLE, load_settings(home).of_worker(), slot)
    worker = node.settings.worker
    devices = devices_of(worker)
    if slot >= len(devices):
        raise ConfigurationError(
            f"worker {slot} has no device, there is only {', '.join(devices)}: see worker.devices."
        )
    device = devices[slot]
    hold_lock(home, f"device-{device}", f"another worker of {home.root} runs on {device}: stop it first.")
    confine(node, slot)
    get_logger().info("worker_device", slot=slot, device=device)
    report_models(worker, home)
    records = AnalysesInStore(node, slot)
    child = InferenceChild(node, device, threads_of(worker, len(devices)))

    def give_up(error: CovnodeError) -> NoReturn:
        # What is queued stays so; who mends the models finds it done at the next start.
        get_logger().error("models_refused", reason=str(error))
        with contextlib.suppress(TransientError):
            records.stopping()
        os._exit(1)

    def infer(claim: AnalysisClaim, series: DeidentifiedSeries) -> Analysed:
        try:
            return child.infer(claim, series)
        except (ConfigurationError, WeightsMismatch) as error:
            give_up(error)

    child.load(give_up)
    shadows = Shadows(node.transaction, child, home.scratch / f"shadow-{slot}")
    job = AnalysisJob(records, shadows.beside(infer) if worker.shadows else infer)

    def run(analysis_id: str, enqueues: int) -> None:
        job.run(analysis_id, enqueues)
        shadows.answer()

    # No grace: an analysis may take minutes, and its child ends with this process.
    kind = JobKind.ANALYSIS
    has_room = room_for_jobs(needs_of(node)[_ROLE])
    role = RoleOfJobs(_ROLE, kind, [queue_name(kind)], concurrency=1, grace_s=0, has_room=has_room, slot=slot)
    run_jobs(node, role, run, on_stop=records.stopping)
