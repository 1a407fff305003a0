"""All that the interlock gets for one delivery, and the stages as they run before it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ct_series import LESION_MODEL, LUNG_MODEL, Made, make_masks, make_result, make_series

from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.keys import PseudonymKeys
from covnode.deliver.restore import restore_identity
from covnode.imaging.mask_file import StoredMasks, load_masks, save_masks
from covnode.interlock.check import check_delivery
from covnode.records.result import AnalysisResult, ObjectKind
from covnode.records.series import ReceivedInstance, ReceivedSeries
from covnode.records.volume import LesionMask, LungMask
from covnode.report.writer import write_objects
from covnode.volume.loading import load_volume


@dataclass(frozen=True)
class Delivery:
    """What `check_delivery` is given."""

    objects: dict[ObjectKind, Path]
    result: AnalysisResult
    masks: StoredMasks
    originals: list[Path]

    def check(self):
        check_delivery(self.objects, result=self.result, masks=self.masks, originals=self.originals)


def run_stages(folder, layout="axial", *, result=None, profile=None, **options):
    """De-identify, load, take the known masks, write, restore: the delivery, and the objects before the restoration."""
    for name in ("originals", "results", "outbox"):
        (folder / name).mkdir()
    keys = PseudonymKeys.random()
    originals = make_series(folder / "originals", layout, **options).paths
    instances = tuple(ReceivedInstance(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in originals)
    series, identity = deidentify_series(ReceivedSeries("series-1", 1, instances), folder / "copies", keys, profile)
    volume = load_volume(series)
    lungs, lesions = make_masks(volume.voxels_hu.shape)
    made = Made(series.files, volume, LungMask(lungs, LUNG_MODEL), LesionMask(lesions, LESION_MODEL))
    record = make_result(made, **{"input_sha256": series.input_sha256, **(result or {})})
    written = write_objects(volume, made.lungs, made.lesions, record, folder / "results")
    save_masks(folder / "results" / "masks.npz", lungs, lesions, volume.affine_lps_mm)
    objects = {item.kind: folder / "outbox" / item.path.name for item in written}
    for item in written:
        restore_identity(item.path, objects[item.kind], identity)
    masks = load_masks(folder / "results" / "masks.npz")
    return Delivery(objects, record, masks, list(originals)), {item.kind: item.path for item in written}
