"""The segments: which label of which mask each one shows, its codes, colour and tracking identity.

Used by segmentation (to write them) and by the SR (to refer to them with the same numbers and tracking UIDs).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from covnode.errors import ReportInvalid
from covnode.records.result import AnalysisResult, ModelIdentity
from covnode.records.volume import Lesion, LesionMask, Lung, LungMask
from covnode.report import codes
from covnode.report.uids import result_uids


@dataclass(frozen=True)
class SegmentKind:
    """One kind of segment; ``rgb`` are colours that the colour-blind can tell apart (Okabe and Ito, 2008)."""

    key: str
    label: str
    mask: str
    value: int
    category: Code
    modifier: Code
    rgb: tuple[int, int, int]

    @property
    def is_lung(self) -> bool:
        """Whether it is an anatomical lung and not a lesion."""
        return self.mask == "lungs"


@dataclass(frozen=True)
class Segment:
    """One segment of one result; ``labels_kji`` is the mask on the canonical grid, ``volume_ml`` from the record."""

    number: int
    kind: SegmentKind
    model: ModelIdentity
    labels_kji: NDArray[np.uint8]
    volume_ml: float | None
    tracking_uid: str

    @property
    def tracking_id(self) -> str:
        """Human readable tracking identifier, the same in SEG and SR."""
        return self.kind.label


KINDS = (
    SegmentKind("left_lung", "Left lung", "lungs", Lung.LEFT, codes.ANATOMICAL_STRUCTURE, codes.LEFT, (0, 114, 178)),
    SegmentKind(
        "right_lung", "Right lung", "lungs", Lung.RIGHT, codes.ANATOMICAL_STRUCTURE, codes.RIGHT, (0, 158, 115)
    ),
    SegmentKind(
        "ground_glass",
        "Ground glass opacity",
        "lesions",
        Lesion.GROUND_GLASS,
        codes.MORPHOLOGICALLY_ABNORMAL,
        codes.GROUND_GLASS,
        (240, 228, 66),
    ),
    SegmentKind(
        "consolidation",
        "Consolidation",
        "lesions",
        Lesion.CONSOLIDATION,
        codes.MORPHOLOGICALLY_ABNORMAL,
        codes.CONSOLIDATION,
        (213, 94, 0),
    ),
)


def list_segments(lungs: LungMask, lesions: LesionMask, result: AnalysisResult) -> tuple[Segment, ...]:
    """List the segments that hold a voxel, numbered from 1 in the order of ``KINDS``.

    Raises
    ------
    ReportInvalid
        Every mask is empty, so there is nothing to write.
    """
    make_uid = result_uids(result)
    volumes_ml = {
        "left_lung": result.lung_volume_ml.left,
        "right_lung": result.lung_volume_ml.right,
        "ground_glass": result.ground_glass_ml.total,
        "consolidation": result.consolidation_ml.total,
    }
    segments: list[Segment] = []
    for kind in KINDS:
        source = lungs if kind.is_lung else lesions
        if (source.labels == kind.value).any():
            number = len(segments) + 1
            uid = make_uid("tracking", kind.key)
            segments.append(Segment(number, kind, source.model, source.labels, volumes_ml[kind.key], uid))
    if not segments:
        raise ReportInvalid("every mask is empty: there is no segment to write")
    return tuple(segments)
