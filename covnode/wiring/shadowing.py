"""Shadows, where torch lives: a second model for a task answers to a series after its analysis has ended.

Files in, figures out, in the worker's child process. A shadow sees what the active model saw: the same volume, and the
lungs of the analysis. Whatever it does, the result stands and has left already.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from covnode.errors import CovnodeError, OutOfMemory
from covnode.imaging.mask_file import load_masks
from covnode.imaging.resampling import network_input
from covnode.imaging.upright import lungs_upright
from covnode.infer.bundles import load_bundle
from covnode.infer.classification import Classifier
from covnode.infer.device import choose_device
from covnode.infer.r231 import R231
from covnode.infer.severity import SeverityRegressor, severity_category
from covnode.infer.slice_engines import Precision
from covnode.logs import get_logger
from covnode.records.result import AnalysisResult, ModelIdentity
from covnode.records.series import DeidentifiedSeries
from covnode.records.shadow import ShadowAnswer
from covnode.records.volume import CTVolume, LungMask
from covnode.store.results import MASKS
from covnode.volume.loading import load_volume
from covnode.wiring.model_store import folder_of
from covnode.wiring.plan import InferencePlan

DECISION = 0.5
"""Probability from which a series counts as COVID-19, where two models are compared."""

Shadow = R231 | Classifier | SeverityRegressor


@dataclass(frozen=True)
class _Seen:
    """What the active models saw, and what they answered."""

    volume: CTVolume
    lungs: LungMask
    result: AnalysisResult
    min_lungs_ml: float


def shadow_answers(plan: InferencePlan, series: DeidentifiedSeries, result: AnalysisResult) -> tuple[ShadowAnswer, ...]:
    """Let each shadow of the settings answer; one that fails says so and stops no other, one that is refused is logged.

    Parameters
    ----------
    plan
        ``plan.out`` holds the masks of the analysis.

    Raises
    ------
    CovnodeError
        The series or its masks cannot be read.
    """
    torch.set_num_threads(plan.threads)
    volume = load_volume(series, min_slices=plan.settings.min_slices)
    served = {model.task: model for model in result.models}
    lungs = LungMask(load_masks(plan.out / MASKS).lung_labels, served["lungs"])
    seen = _Seen(volume, lungs, result, plan.quality.min_lungs_ml)
    return tuple(_answer(shadow, served[shadow.identity.task], seen) for shadow in load_shadows(plan))


def load_shadows(plan: InferencePlan) -> list[Shadow]:
    """Load the shadows of the settings, once a process; one that is refused is logged and left out."""
    shadows = []
    for name in plan.settings.shadows:
        try:
            folder = folder_of(plan.installed_models, name)
            shadows.append(_shadow(folder, plan.device, plan.slices_at_once, plan.settings.precision))
        except CovnodeError as error:
            get_logger().error("shadow_refused", model=name, reason=str(error))
    return shadows


@lru_cache(maxsize=3)
def _shadow(folder: Path, device_name: str, slices_at_once: int, precision: Precision) -> Shadow:
    bundle, device = load_bundle(folder), choose_device(device_name)
    if bundle.task == "lungs":
        return R231(bundle, device, slices_at_once, precision)
    return Classifier(bundle, device) if bundle.task == "classification" else SeverityRegressor(bundle, device)


def _answer(shadow: Shadow, active: ModelIdentity, seen: _Seen) -> ShadowAnswer:
    result = seen.result
    answers = {
        "lungs": result.lung_volume_ml.total,
        "classification": result.covid_probability,
        "severity": result.severity_score,
    }
    about = ShadowAnswer(
        task=active.task,
        model=shadow.identity.name,
        sha256=str(shadow.identity.sha256),
        active_model=active.name,
        active_sha256=active.sha256,
        active_answer=answers[active.task],
    )
    try:
        return _beside(about, shadow, seen)
    except CovnodeError as error:
        return replace(about, error=type(error).__name__)
    except (MemoryError, torch.OutOfMemoryError):
        return replace(about, error=OutOfMemory.__name__)


def _beside(about: ShadowAnswer, shadow: Shadow, seen: _Seen) -> ShadowAnswer:
    """Compute the answer and compare it with the active model's."""
    if isinstance(shadow, R231):
        lungs = lungs_upright(lambda volume: shadow.segment(volume, seen.min_lungs_ml))(seen.volume)
        volume_ml = np.count_nonzero(lungs.labels) * seen.volume.voxel_ml
        return replace(about, answer=round(float(volume_ml), 1), dice=_dice(lungs, seen.lungs))
    answer, other = shadow(network_input(seen.volume, seen.lungs)), about.active_answer
    if other is None:
        return replace(about, answer=answer)
    if isinstance(shadow, Classifier):
        return replace(about, answer=answer, agrees=(answer >= DECISION) == (other >= DECISION))
    return replace(about, answer=answer, agrees=severity_category(answer) == severity_category(other))


def _dice(one: LungMask, other: LungMask) -> float:
    """Return the Dice coefficient of two masks of both lungs; a voxel of the other side does not count as shared."""
    shared = np.count_nonzero((one.labels == other.labels) & (one.labels > 0))
    return round(2.0 * shared / (np.count_nonzero(one.labels) + np.count_nonzero(other.labels)), 4)
