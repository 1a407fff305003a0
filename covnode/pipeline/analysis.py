"""The analysis: a de-identified series becomes figures, masks, SEG and SR.

Comes from the queue; goes to the delivery. ``analyse`` runs where torch lives (a child process of the worker, or the
command ``covnode analyse``); ``AnalysisJob`` runs in the worker, which holds the claim. Neither ever sees an identity.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from covnode.errors import CovnodeError, SeriesUnusable, StaleClaim, TransientError
from covnode.logs import get_logger
from covnode.records.job import AnalysisClaim, AnalysisState
from covnode.records.quality import Quality
from covnode.records.result import AnalysisResult, ResultObject
from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import CTVolume, LesionMask, LungMask

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Analysed:
    """What an analysis leaves: the record, and the objects on disk; ``device`` says where it was made."""

    result: AnalysisResult
    objects: tuple[ResultObject, ...]
    timings_s: dict[str, float]
    device: str = ""


@dataclass(frozen=True)
class Stages:
    """The stages of an analysis in their order, each taking what the ones before it made."""

    load: Callable[[DeidentifiedSeries], CTVolume]
    check_volume: Callable[[CTVolume], Quality]
    segment_lungs: Callable[[CTVolume], LungMask]
    check_lungs: Callable[[CTVolume, LungMask], Quality]
    find_lesions: Callable[[CTVolume, LungMask], LesionMask]
    conclude: Callable[[AnalysisClaim, CTVolume, Quality, LungMask, LesionMask], AnalysisResult]
    report: Callable[[CTVolume, LungMask, LesionMask, AnalysisResult], tuple[ResultObject, ...]]


def analyse(claim: AnalysisClaim, series: DeidentifiedSeries, stages: Stages, progress: Progress) -> Analysed:
    """Run every stage on one series.

    Raises
    ------
    SeriesUnusable
        The series cannot be analysed; the message says why, to a person.
    """
    timings_s: dict[str, float] = {}
    started = time.monotonic()

    def done(stage: str, percent: int) -> None:
        timings_s[stage] = round(time.monotonic() - started - sum(timings_s.values()), 3)
        progress(percent)

    volume = stages.load(series)
    done("volume", 10)
    quality = stages.check_volume(volume)
    done("quality", 12)
    lungs = stages.segment_lungs(volume)
    done("lungs", 50)
    quality += stages.check_lungs(volume, lungs)
    done("quality_of_lungs", 52)
    lesions = stages.find_lesions(volume, lungs)
    done("lesions", 75)
    result = stages.conclude(claim, volume, quality, lungs, lesions)
    done("classification_and_severity", 85)
    objects = stages.report(volume, lungs, lesions, result)
    done("report", 100)
    return Analysed(result, objects, timings_s)


class AnalysisRecords(Protocol):
    """What the store does for the worker, each in one transaction."""

    def claim(self, analysis_id: str, enqueues: int) -> AnalysisClaim | None:
        """Take the analysis for that enqueue of it; None when there is nothing to do."""
        ...

    def series(self, claim: AnalysisClaim) -> DeidentifiedSeries:
        """Return the de-identified files."""
        ...

    def finish(self, claim: AnalysisClaim, analysed: Analysed) -> None:
        """Record the result, open a delivery to each destination and enqueue it."""
        ...

    def interrupted(self, claim: AnalysisClaim, reason: str) -> None:
        """Keep why an attempt ended early."""
        ...

    def end(self, claim: AnalysisClaim, state: AnalysisState, code: str, reason: str) -> None:
        """Record that there is no result, and why."""
        ...


@dataclass(frozen=True)
class AnalysisJob:
    """claim -> infer and report (in a child process) -> enqueue delivery."""

    records: AnalysisRecords
    infer: Callable[[AnalysisClaim, DeidentifiedSeries], Analysed]

    def run(self, analysis_id: str, enqueues: int) -> None:
        """Work on the analysis until it has ended; a crash of the child is one attempt."""
        ended = False
        while not ended and (claim := self.records.claim(analysis_id, enqueues)) is not None:
            try:
                ended = self._attempt(claim)
            except StaleClaim:
                # Another executor has it, a newer revision came, or a person cancelled it.
                get_logger().warning("analysis_taken_away", analysis_id=analysis_id)
                return

    def _attempt(self, claim: AnalysisClaim) -> bool:
        """Make one attempt; return whether the analysis has ended."""
        log = get_logger().bind(analysis_id=claim.analysis_id, series_id=claim.series_id, attempt=claim.attempt)
        log.info("analysis_started")
        try:
            analysed = self.infer(claim, self.records.series(claim))
            self.records.finish(claim, analysed)
            log.info("analysis_finished", timings_s=analysed.timings_s)
        except TransientError as error:
            self.records.interrupted(claim, str(error))
            log.warning("analysis_interrupted", reason=str(error))
            return False
        except StaleClaim:
            raise
        except SeriesUnusable as error:
            self.records.end(claim, AnalysisState.NOT_ANALYSED, error.code, str(error))
            log.info("series_not_analysed", code=error.code, reason=str(error))
        except Exception as error:  # noqa: BLE001 (the edge of the worker's loop)
            reason = str(error) if isinstance(error, CovnodeError) else "an unforeseen error"
            self.records.end(claim, AnalysisState.FAILED, type(error).__name__, reason)
            log.error("analysis_failed", error=type(error).__name__, reason=reason)
        return True
