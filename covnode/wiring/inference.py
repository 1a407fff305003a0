"""The stages of an analysis wired together, where torch lives: the worker's child process and ``covnode analyse``.

Files in, files out: it holds no database, no queue and no key.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from covnode.errors import OutOfMemory
from covnode.imaging.mask_file import save_masks
from covnode.imaging.resampling import network_input
from covnode.imaging.upright import lesions_upright, lungs_upright
from covnode.infer.classification import Classifier
from covnode.infer.device import choose_device
from covnode.infer.emphysema import low_attenuation_percent
from covnode.infer.lesions import find_lesions
from covnode.infer.lungs import segment_lungs
from covnode.infer.measures import measure
from covnode.infer.quality import check_lungs, check_volume
from covnode.infer.r231 import R231
from covnode.infer.severity import SeverityRegressor, ctsi, severity_category
from covnode.pipeline.analysis import Analysed, Progress, Stages, analyse
from covnode.records.job import AnalysisClaim
from covnode.records.quality import Quality
from covnode.records.result import AnalysisResult, ResultObject
from covnode.records.series import DeidentifiedSeries
from covnode.records.volume import CTVolume, LesionMask, LungMask
from covnode.report.writer import write_objects
from covnode.sections import WorkerSettings
from covnode.store.results import MASKS, StoredResult, save_result
from covnode.volume.loading import load_volume
from covnode.wiring.model_store import active_models, load_model
from covnode.wiring.plan import InferencePlan

_FIGURE_OF_TASK = {"classification": "probability"}


@dataclass(frozen=True)
class Models:
    """The models of one process, on their device."""

    lungs: R231 | None
    classifier: Classifier
    severity: SeverityRegressor


# One set alone: those of another plan would hold memory that this one lacks.
@lru_cache(maxsize=1)
def load_models(settings: WorkerSettings, installed_models: Path, device_name: str, slices_at_once: int) -> Models:
    """Load and verify every model that the settings choose.

    Raises
    ------
    ConfigurationError, WeightsMismatch
        A model is not there, its weights are not those of its metadata or not of its network, or the CPU lacks the
        precision.
    """
    device = choose_device(device_name)
    bundles = {
        task: load_model(installed_models, name, task)
        for task, name in active_models(settings, installed_models).items()
    }
    lungs = bundles.get("lungs")
    return Models(
        lungs=R231(lungs, device, slices_at_once, settings.precision) if lungs else None,
        classifier=Classifier(bundles["classification"], device),
        severity=SeverityRegressor(bundles["severity"], device),
    )


def infer_series(plan: InferencePlan, claim: AnalysisClaim, series: DeidentifiedSeries, progress: Progress) -> Analysed:
    """Analyse one series into the plan's folder: objects, masks and the record.

    Raises
    ------
    SeriesUnusable
        The series cannot be analysed, and why.
    OutOfMemory
        The device or the host has too little memory for it by this plan.
    """
    try:
        return _infer_series(plan, claim, series, progress)
    except (MemoryError, torch.OutOfMemoryError):
        # Without its context, whose frames hold the tensors.
        raise OutOfMemory(f"out of memory on {plan.device}") from None


def _infer_series(
    plan: InferencePlan, claim: AnalysisClaim, series: DeidentifiedSeries, progress: Progress
) -> Analysed:
    out = plan.out
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    settings = plan.settings
    models = load_models(settings, plan.installed_models, plan.device, plan.slices_at_once)

    def lungs_of(volume: CTVolume) -> LungMask:
        segment = models.lungs.segment if models.lungs else segment_lungs
        return segment(volume, plan.quality.min_lungs_ml)

    def report(
        volume: CTVolume, lungs: LungMask, lesions: LesionMask, result: AnalysisResult
    ) -> tuple[ResultObject, ...]:
        save_masks(out / MASKS, lungs.labels, lesions.labels, volume.affine_lps_mm)
        return write_objects(volume, lungs, lesions, result, out)

    stages = Stages(
        load=lambda held: load_volume(held, min_slices=settings.min_slices),
        check_volume=lambda volume: check_volume(volume, plan.quality),
        segment_lungs=lungs_upright(lungs_of),
        check_lungs=lambda volume, lungs: check_lungs(volume, lungs, plan.quality),
        find_lesions=lesions_upright(find_lesions),
        conclude=_Conclusion(plan, models),
        report=report,
    )
    analysed = replace(analyse(claim, series, stages, progress), device=plan.told)
    save_result(out, StoredResult(result=analysed.result, objects=analysed.objects))
    return analysed


@dataclass(frozen=True)
class _Conclusion:
    """The stage that makes the record of what the others found."""

    plan: InferencePlan
    models: Models

    def __call__(
        self, claim: AnalysisClaim, volume: CTVolume, quality: Quality, lungs: LungMask, lesions: LesionMask
    ) -> AnalysisResult:
        measures = measure(volume, lungs, lesions)
        network = network_input(volume, lungs)
        probability = self.models.classifier(network)
        score = self.models.severity(network)
        used = (lungs.model, lesions.model, self.models.classifier.identity, self.models.severity.identity)
        demonstrated = [_FIGURE_OF_TASK.get(model.task, model.task) for model in used if model.demonstration]
        return AnalysisResult(
            analysis_id=claim.analysis_id,
            series_id=claim.series_id,
            revision=claim.revision,
            created_at=claim.first_claimed_at,
            input_sha256=claim.input_sha256,
            acquisition=volume.acquisition,
            lung_volume_ml=measures.lung_volume_ml,
            ground_glass_ml=measures.ground_glass_ml,
            consolidation_ml=measures.consolidation_ml,
            affected_percent=measures.affected_percent,
            affected_percent_of_zones=measures.affected_percent_of_zones,
            low_attenuation_percent=low_attenuation_percent(volume, lungs),
            slices=measures.slices,
            covid_probability=probability,
            severity_score=score,
            severity_category=severity_category(score),
            ctsi=ctsi(score),
            models=used,
            cautions=(
                *claim.received_cautions,
                *volume.cautions,
                *(figure.sentence for figure in quality if figure.sentence),
                *([_demonstration_caution(demonstrated)] if demonstrated else ()),
            ),
            quality=quality,
            configuration=_configuration(self.plan),
        )


def _demonstration_caution(figures: list[str]) -> str:
    return (
        f"From demonstration models that were trained on synthetic phantoms only: {' and '.join(figures)}; "
        "not for clinical use."
    )


def _configuration(plan: InferencePlan) -> dict[str, str | int]:
    settings = plan.settings
    return {
        "lungs": settings.lungs,
        "precision": settings.precision,
        "min_slices": settings.min_slices,
        "quality": plan.quality.model_dump_json(),
    }
