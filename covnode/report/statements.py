"""The sentences of the SR: what it is, how it was made, what limits it.

Comes from the result record; goes to structured_report as text items.
"""

from covnode.records.quality import verdict_of
from covnode.records.result import DEMONSTRATION, AnalysisResult, ModelIdentity, ObjectKind
from covnode.report.figures import withheld_tasks

_LIMITS = (
    "Computed automatically and not reviewed by a person.",
    "Density thresholds do not tell infection from other causes of increased density.",
)


def list_statements(result: AnalysisResult, kind: ObjectKind) -> tuple[str, ...]:
    """List the sentences of one SR in reading order."""
    withheld = sorted(withheld_tasks(result, kind))
    statements = [f"Results of models that are a {DEMONSTRATION}."] if result.demonstration else []
    if withheld:
        statements.append(
            f"Figures withheld in this report, since their models are demonstrations: {', '.join(withheld)}."
        )
    statements += [f"Caution: {caution}" for caution in result.cautions]
    if result.quality:
        measured = ", ".join(str(figure) for figure in result.quality)
        statements.append(f"Image quality: {verdict_of(result.quality)}; {measured}.")
    statements.append(_acquisition(result))
    statements += [_model(model) for model in result.models]
    statements += _LIMITS
    statements.append(f"Analysis revision {result.revision} of {result.created_at.isoformat(timespec='seconds')}.")
    return tuple(statements)


def _acquisition(result: AnalysisResult) -> str:
    acquisition = result.acquisition
    thickness = acquisition.slice_thickness_mm
    contrast = {True: "given", False: "not given", None: "not stated"}[acquisition.contrast_agent]
    return (
        f"Acquisition: slice thickness {'not stated' if thickness is None else f'{thickness:g} mm'}, "
        f"kernel {acquisition.convolution_kernel or 'not stated'}, contrast agent {contrast}."
    )


def _model(model: ModelIdentity) -> str:
    standing = f" ({DEMONSTRATION})" if model.demonstration else ""
    weights = f"sha256 {model.sha256}" if model.sha256 else "no weights"
    name = f"{model.name} {model.version}{standing}"
    return f"Model for {model.task}: {name}, {weights}, training data: {model.training_data}."
