"""The truth about a phantom, as figures and masks beside its DICOM files.

Takes a laid-out Phantom; writes truth.npz and truth.json. The figures have the names of records.result.
"""

import json
from pathlib import Path

import numpy as np

from covnode.learn.phantom_records import Phantom
from covnode.records.volume import Lesion, Lung


def truth_figures(phantom: Phantom) -> dict[str, object]:
    """Return the exact figures, counted in the masks.

    ``slices`` runs from the most superior (index 0) down; ``position_mm`` is the voxel centres' position along the
    slice normal that points to superior; ``affected_percent`` is None where a slice holds no lung.
    """
    lungs, lesions = phantom.lung_labels, phantom.lesion_labels
    lung_counts = {side: np.count_nonzero(lungs == side, axis=(1, 2)) for side in Lung}
    affected_counts = {side: np.count_nonzero((lungs == side) & (lesions > 0), axis=(1, 2)) for side in Lung}
    in_slice, affected = sum(lung_counts.values()), sum(affected_counts.values())
    slices = []
    for index, k in enumerate(range(len(lungs) - 1, -1, -1)):
        position_mm = float(phantom.normal_lps @ (phantom.affine_lps_mm @ [0, 0, k, 1])[:3])
        percent = 100.0 * float(affected[k] / in_slice[k]) if in_slice[k] else None
        slices.append({"index": index, "position_mm": position_mm, "affected_percent": percent})
    return {
        "preset": phantom.preset.value,
        "seed": phantom.seed,
        "contrast_agent": phantom.contrast_agent,
        "lung_volume_ml": _per_side({side: float(lung_counts[side].sum()) * phantom.voxel_ml for side in Lung}),
        "ground_glass_ml": _lesion_ml(phantom, Lesion.GROUND_GLASS),
        "consolidation_ml": _lesion_ml(phantom, Lesion.CONSOLIDATION),
        "affected_percent": {
            "total": 100.0 * float(affected.sum() / in_slice.sum()),
            "left": 100.0 * float(affected_counts[Lung.LEFT].sum() / lung_counts[Lung.LEFT].sum()),
            "right": 100.0 * float(affected_counts[Lung.RIGHT].sum() / lung_counts[Lung.RIGHT].sum()),
        },
        "slices": slices,
        "geometry": {
            "shape_kji": list(lungs.shape),
            "spacing_kji_mm": list(phantom.spacing_mm),
            "affine_lps_mm": phantom.affine_lps_mm.tolist(),
        },
    }


def _lesion_ml(phantom: Phantom, kind: Lesion) -> dict[str, float]:
    found = phantom.lesion_labels == kind
    return _per_side(
        {side: np.count_nonzero(found & (phantom.lung_labels == side)) * phantom.voxel_ml for side in Lung}
    )


def _per_side(by_side: dict[Lung, float]) -> dict[str, float]:
    return {"total": sum(by_side.values()), "left": by_side[Lung.LEFT], "right": by_side[Lung.RIGHT]}


def write_truth(phantom: Phantom, out: Path) -> tuple[Path, Path]:
    """Write truth.json and truth.npz into ``out``; return their paths.

    truth.npz holds lung_labels, lesion_labels (uint8), airway_mask (bool), all (k, j, i) on the canonical grid,
    and affine_lps_mm (4, 4): (i, j, k, 1) -> LPS mm.
    """
    figures, masks = out / "truth.json", out / "truth.npz"
    figures.write_text(json.dumps(truth_figures(phantom), indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(
        masks,
        lung_labels=phantom.lung_labels,
        lesion_labels=phantom.lesion_labels,
        airway_mask=phantom.airway_mask,
        affine_lps_mm=phantom.affine_lps_mm,
    )
    return figures, masks
