"""The interlock: re-reads the finished objects before they leave, and lets nothing pass that differs.

Comes from pipeline.delivery with the final bytes, identity restored; ends in silence or in a refusal that is final.
Shares no code with the writer: pydicom and numpy alone, codes written down a second time, its own geometry and its own
decoding. Never changes an object.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset

from covnode.dicom.reading import MALFORMED, quietly
from covnode.errors import TransientError
from covnode.imaging.mask_file import StoredMasks
from covnode.interlock.expected import REPORTS, SEGMENTS
from covnode.interlock.figures import check_report, check_volumes
from covnode.interlock.geometry import Lattice, check_geometry
from covnode.interlock.identity import check_distinct, check_identity
from covnode.interlock.originals import Originals, read_originals
from covnode.interlock.references import check_report_references, check_segmentation_references
from covnode.interlock.refusals import Rule, refusal
from covnode.interlock.segmentation import Seg, read_seg
from covnode.records.result import AnalysisResult, ObjectKind


def check_delivery(
    objects: Mapping[ObjectKind, Path],
    *,
    result: AnalysisResult,
    masks: StoredMasks,
    originals: Sequence[Path],
) -> None:
    """Hold the final objects against the originals, the stored masks and the result record.

    Parameters
    ----------
    objects
        Final Part 10 files. The SEG must be among them: an SR cannot be checked without the SEG it refers to.
    masks
        As the analysis stored them, on the canonical grid.
    originals
        All files of the series as received, any transfer syntax; only headers are read.

    Raises
    ------
    DeliveryRefused
        ``code`` is a value of ``covnode.interlock.refusals.Rule``; the message holds no identity.
    TransientError
        The storage fails.
    """
    received = read_originals(originals)
    with quietly():
        datasets = {kind: _read(kind, path) for kind, path in objects.items()}
        if ObjectKind.SEG not in datasets:
            raise refusal(Rule.MISSING_OBJECT, "there is no segmentation to hold the reports against")
        try:
            _check(datasets, result, masks, received)
        except (OSError, *MALFORMED) as error:
            raise refusal(Rule.UNREADABLE, "an object lacks an attribute or holds a malformed one") from error


def _check(
    datasets: Mapping[ObjectKind, FileDataset], result: AnalysisResult, masks: StoredMasks, received: Originals
) -> None:
    for kind, dataset in datasets.items():
        check_identity(kind, dataset, received, result)
    check_distinct(datasets, received)
    seg = read_seg(datasets[ObjectKind.SEG])
    check_segmentation_references(seg, received)
    lattice = Lattice(masks, received)
    _require_segments(seg, masks)
    check_geometry(seg, lattice, masks, received)
    check_volumes(seg, masks, result)
    for kind in REPORTS:
        if kind in datasets:
            check_report(kind, datasets[kind], seg, result, received)
            check_report_references(kind, datasets[kind], seg, received, lattice)


def _require_segments(seg: Seg, masks: StoredMasks) -> None:
    """There must be a segment for each mask that holds a voxel, and for no other."""
    labels = {"lungs": masks.lung_labels, "lesions": masks.lesion_labels}
    wanted = {item.label for item in SEGMENTS if (labels[item.mask] == item.value).any()}
    shown = {segment.expected.label for segment in seg.segments}
    if shown != wanted:
        raise refusal(Rule.SEGMENT_CODES, f"the segments are {sorted(shown)}, the masks hold {sorted(wanted)}")


def _read(kind: ObjectKind, path: Path) -> FileDataset:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise refusal(Rule.UNREADABLE, f"{kind} is gone") from error
    except OSError as error:
        raise TransientError(f"{kind} cannot be read at present") from error
    try:
        return dcmread(BytesIO(content))
    except (OSError, *MALFORMED) as error:
        raise refusal(Rule.UNREADABLE, f"{kind} is no readable DICOM file") from error
