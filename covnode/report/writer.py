"""Writes the result objects of one analysis, still under the pseudonymous identity.

Comes from pipeline.analysis with the volume, the masks and the result record; goes to files that deliver restores the
identity of. Never computes a figure, never sees an identity.
"""

from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from covnode.dicom.reading import quietly
from covnode.errors import ReportInvalid
from covnode.records.result import AnalysisResult, ObjectKind, ResultObject
from covnode.records.volume import CTVolume, LesionMask, LungMask
from covnode.report.envelope import make_envelope, write_durably
from covnode.report.figures import withheld_tasks
from covnode.report.segmentation import build_segmentation
from covnode.report.segments import list_segments
from covnode.report.source import read_source
from covnode.report.structured_report import build_report


def write_objects(
    volume: CTVolume, lungs: LungMask, lesions: LesionMask, result: AnalysisResult, out: Path
) -> tuple[ResultObject, ...]:
    """Write ``seg.dcm``, ``sr.dcm`` and, if a figure is withheld from that, ``sr_with_demonstration.dcm``.

    Parameters
    ----------
    volume
        Its frames name the de-identified files, whose headers are read again.
    lungs, lesions
        On the volume's grid.
    out
        An existing folder.

    Returns
    -------
    tuple of ResultObject
        The SEG first. The same input gives the same bytes.

    Raises
    ------
    ReportInvalid
        The masks do not fit the volume, hold nothing, or no valid object can be made.
    """
    if not lungs.labels.shape == lesions.labels.shape == volume.voxels_hu.shape:
        raise ReportInvalid("the masks are not on the grid of the volume")
    with quietly():
        return tuple(_write(dataset, kind, out) for kind, dataset in _build(volume, lungs, lesions, result))


def _build(
    volume: CTVolume, lungs: LungMask, lesions: LesionMask, result: AnalysisResult
) -> Iterator[tuple[ObjectKind, Dataset]]:
    source = read_source(volume)
    header = source.header
    segments = list_segments(lungs, lesions, result)
    envelope = make_envelope(ObjectKind.SEG, result, header)
    segmentation = build_segmentation(source, segments, volume.in_plane, result, envelope)
    yield ObjectKind.SEG, segmentation
    kinds = [ObjectKind.SR]
    if withheld_tasks(result, ObjectKind.SR):
        kinds.append(ObjectKind.SR_WITH_DEMONSTRATION)
    for kind in kinds:
        yield kind, build_report(source, segmentation, segments, result, make_envelope(kind, result, header))


def _write(dataset: Dataset, kind: ObjectKind, out: Path) -> ResultObject:
    path = out / f"{kind}.dcm"
    write_durably(dataset, path)
    return ResultObject(
        kind=kind,
        path=path,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
    )
