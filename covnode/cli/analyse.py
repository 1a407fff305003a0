"""``covnode analyse``: a folder of DICOM files in, figures and objects out; no network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from covnode.cli.console import HomeOption, JsonOption, home_of, print_json, show_rows, stderr
from covnode.records.result import DEMONSTRATION
from covnode.settings import Settings, load_settings
from covnode.wiring.devices import devices_of, threads_of
from covnode.wiring.plan import InferencePlan

if TYPE_CHECKING:
    from covnode.wiring.offline import OfflineOutcome

_NOTHING_ANALYSED = 3


def analyse(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files, or one file.", exists=True)],
    out: Annotated[Path, typer.Option(help="Where the SEG and SR are written.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse every series of a folder by the same path as the node: SEG and SR in OUT, figures on stdout.

    Exit code 3 when no series could be analysed; each one's reason is in the output.

    Example: `covnode analyse ./series --out ./results --json`
    """
    from covnode.wiring.offline import analyse_folder  # noqa: PLC0415 (torch loads slowly, and only here)

    place = home_of(home)
    settings = load_settings(place) if place.config.exists() else Settings()
    worker = settings.worker
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with Progress(console=stderr, transient=True) as progress:
        task = progress.add_task("analysing", total=100)
        threads = threads_of(worker, workers=1)
        plan = InferencePlan(worker, place.models, out, devices_of(worker)[0], threads, settings.quality)
        for outcome in analyse_folder(folder, plan, lambda percent: progress.update(task, completed=percent)):
            outcomes.append(outcome)
            progress.reset(task)
    if as_json:
        print_json([_as_json(outcome) for outcome in outcomes])
    else:
        show_rows(list(_ROW), [_as_row(outcome) for outcome in outcomes], as_json=False)
        stderr.print(f"Probability and severity: {DEMONSTRATION}.")
    if all(outcome.result is None for outcome in outcomes):
        raise typer.Exit(_NOTHING_ANALYSED)


def _as_json(outcome: "OfflineOutcome") -> dict[str, Any]:
    result = outcome.result
    nothing = {"total": None, "left": None, "right": None}
    return {
        "series_instance_uid": outcome.series_instance_uid,
        "status": "analysed" if result else "not_analysed",
        "reason_code": outcome.code,
        "reason": outcome.reason,
        "cautions": list(outcome.cautions),
        "quality": [figure.model_dump() for figure in result.quality] if result else [],
        "lung_volume_ml": result.lung_volume_ml.model_dump() if result else nothing,
        "ground_glass_ml": result.ground_glass_ml.model_dump() if result else nothing,
        "consolidation_ml": result.consolidation_ml.model_dump() if result else nothing,
        "affected_percent": result.affected_percent.model_dump() if result else nothing,
        "affected_percent_of_zones": result.affected_percent_of_zones.model_dump()
        if result and result.affected_percent_of_zones
        else None,
        "low_attenuation_percent": result.low_attenuation_percent.model_dump()
        if result and result.low_attenuation_percent
        else nothing,
        "slices": [part.model_dump() for part in result.slices] if result else [],
        "covid_probability": result.covid_probability if result else None,
        "severity_score": result.severity_score if result else None,
        "severity_category": result.severity_category if result else None,
        "ctsi": result.ctsi if result else None,
        "models": [
            model.model_dump(include={"name", "version", "sha256", "task", "demonstration"}) for model in result.models
        ]
        if result
        else [],
        "objects": [{"kind": kind, "path": str(path)} for kind, path in outcome.objects.items()],
        "timings_s": outcome.timings_s,
    }


_ROW = ("series", "status", "lungs_ml", "affected_percent", "probability", "severity", "reason_or_cautions")


def _as_row(outcome: "OfflineOutcome") -> dict[str, object]:
    result = outcome.result
    if result is None:
        empty = dict.fromkeys(_ROW)
        return {**empty, "series": outcome.series_instance_uid, "status": "not analysed", _ROW[-1]: outcome.reason}
    return {
        "series": outcome.series_instance_uid,
        "status": "analysed",
        "lungs_ml": _rounded(result.lung_volume_ml.total, 0),
        "affected_percent": _rounded(result.affected_percent.total, 1),
        "probability": _rounded(result.covid_probability, 2),
        "severity": f"{_rounded(result.severity_score, 0)} {result.severity_category or ''}",
        _ROW[-1]: " ".join(outcome.cautions),
    }


def _rounded(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
