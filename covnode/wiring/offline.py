"""``covnode analyse``: the same path on a folder, without network, database or vault.

De-identified with a key of its own that is thrown away, analysed, identity restored, held against the originals by
the interlock; the objects lie in the caller's folder, under the patient's own identity.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from covnode.clock import utc_now
from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.keys import PseudonymKeys
from covnode.deliver.restore import restore_identity
from covnode.dicom.reading import FolderSeries, find_series
from covnode.disk import sha256_of
from covnode.errors import ConfigurationError, DeidentificationRefused, DeliveryRefused, NotDicom, SeriesUnusable
from covnode.imaging.mask_file import load_masks
from covnode.interlock.check import check_delivery
from covnode.pipeline.analysis import Analysed, Progress
from covnode.records.identity import Identity
from covnode.records.job import AnalysisClaim
from covnode.records.result import AnalysisResult, ObjectKind
from covnode.records.series import ReceivedInstance, ReceivedSeries
from covnode.store.results import MASKS
from covnode.wiring.inference import infer_series
from covnode.wiring.plan import InferencePlan, within_memory

_AMBIGUOUS = (
    "Several slices share one SOP Instance UID, so references to them are ambiguous: "
    "the objects must not be sent to a PACS."
)


@dataclass(frozen=True)
class OfflineOutcome:
    """What came of one series of the folder.

    Attributes
    ----------
    series_instance_uid
        As in the input; None for files that are not DICOM.
    code, reason
        Why there is no result.
    """

    series_instance_uid: str | None
    result: AnalysisResult | None = None
    objects: dict[ObjectKind, Path] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    code: str | None = None
    reason: str | None = None


def analyse_folder(folder: Path, plan: InferencePlan, progress: Progress) -> Iterator[OfflineOutcome]:
    """Analyse each series below ``folder`` into ``plan.out``, one after the other; a bad one does not stop the next.

    Raises
    ------
    ConfigurationError
        The folder holds no file at all.
    """
    contents = find_series(folder)
    if not contents.series and not contents.not_dicom:
        raise ConfigurationError(f"{folder} holds no files.")
    if not contents.series:
        yield OfflineOutcome(
            None,
            code=NotDicom.code,
            reason=f"none of the {len(contents.not_dicom)} files is a readable DICOM file",
        )
    for number, found in enumerate(contents.series, start=1):
        with tempfile.TemporaryDirectory(prefix="covnode-") as scratch:
            yield _analyse_series(found, number, Path(scratch), plan, progress)


def _analyse_series(
    found: FolderSeries, number: int, scratch: Path, plan: InferencePlan, progress: Progress
) -> OfflineOutcome:
    received = ReceivedSeries(
        series_id=f"series-{number}",
        revision=1,
        instances=tuple(ReceivedInstance(path, sha256_of(path)) for path in found.files),
    )
    try:
        series, identity = deidentify_series(received, scratch / "deidentified", PseudonymKeys.random())
        claim = AnalysisClaim(
            analysis_id=received.series_id,
            series_id=received.series_id,
            revision=1,
            input_sha256=series.input_sha256,
            attempt=1,
            fence=1,
            first_claimed_at=utc_now(),
        )
        analysed = within_memory(
            replace(plan, out=scratch / "results"), lambda plan: infer_series(plan, claim, series, progress)
        )
        objects = _finish(analysed, identity, received, scratch / "results" / MASKS, plan.out / received.series_id)
    except (SeriesUnusable, DeidentificationRefused, DeliveryRefused) as error:
        return OfflineOutcome(found.series_instance_uid, code=error.code, reason=str(error))
    return OfflineOutcome(
        found.series_instance_uid,
        result=analysed.result,
        objects=objects,
        timings_s=analysed.timings_s,
        cautions=(*analysed.result.cautions, *((_AMBIGUOUS,) if identity.ambiguous_references else ())),
    )


def _finish(
    analysed: Analysed, identity: Identity, received: ReceivedSeries, masks: Path, out: Path
) -> dict[ObjectKind, Path]:
    """Write the objects under the patient's own identity, and hold them against the originals."""
    out.mkdir(parents=True, exist_ok=True)
    objects = {item.kind: out / item.path.name for item in analysed.objects}
    # Ambiguous references bar a delivery; on the caller's own files the objects are still of use.
    restorable = identity.model_copy(update={"ambiguous_references": False})
    for item in analysed.objects:
        restore_identity(item.path, objects[item.kind], restorable)
    if not identity.ambiguous_references:
        originals = [instance.path for instance in received.instances]
        try:
            check_delivery(objects, result=analysed.result, masks=load_masks(masks), originals=originals)
        except DeliveryRefused:
            shutil.rmtree(out)
            raise
    return objects
