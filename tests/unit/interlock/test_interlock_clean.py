"""What is right passes, in every layout and encoding of the originals."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from ct_series import (
    DEMONSTRATION_MODELS,
    LAYOUTS,
    LESION_MODEL,
    LUNG_MODEL,
    SLICES,
    make_result,
    make_series,
    write_part10,
)
from pydicom import dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from covnode.records.result import ObjectKind, PerSide
from covnode.report.writer import write_objects

REAL_MODELS = tuple(model.model_copy(update={"demonstration": False}) for model in DEMONSTRATION_MODELS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clean_objects_of_every_layout_pass(deliver, layout):
    deliver(layout).check()


def test_frames_that_do_not_end_at_a_byte_pass(deliver):
    deliver("oblique", rows=59, columns=51).check()


@pytest.mark.parametrize(
    "result",
    [
        {"models": (LUNG_MODEL, LESION_MODEL, *REAL_MODELS)},
        {"models": (LUNG_MODEL, LESION_MODEL, DEMONSTRATION_MODELS[0], REAL_MODELS[1])},
        {"covid_probability": None, "severity_score": None, "severity_category": None, "ctsi": None},
        {"affected_percent": PerSide(total=None, left=None, right=None)},
        {"created_at": datetime(2026, 5, 6, 7, 8, tzinfo=UTC), "cautions": ()},
    ],
    ids=["no demonstration", "one demonstration", "abstained", "no percentages", "no caution"],
)
def test_every_kind_of_record_passes(deliver, result):
    deliver(result=result).check()


def test_either_report_alone_passes(deliver):
    delivery = deliver()
    for left_out in (ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION):
        objects = {kind: path for kind, path in delivery.objects.items() if kind is not left_out}
        replace(delivery, objects=objects).check()


@pytest.mark.parametrize("layout", ["axial", "enhanced"])
@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
    ids=lambda syntax: syntax.name,
)
def test_originals_in_any_transfer_syntax_pass(deliver, tmp_path, layout, syntax):
    delivery = deliver(layout)
    for path in delivery.originals:
        dataset = dcmread(path)
        if syntax.is_compressed and syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        else:
            if not syntax.is_little_endian:
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax
        dcmwrite(tmp_path / path.name, dataset)
    replace(delivery, originals=list(tmp_path.iterdir())).check()


def test_originals_that_lack_what_they_may_lack_pass(deliver, tmp_path):
    delivery = deliver("axial", AccessionNumber="", StudyID="", PatientBirthDate="", IssuerOfPatientID=None)
    for path in delivery.originals:
        dataset = dcmread(path)
        for keyword in ("AccessionNumber", "StudyID", "PatientBirthDate", "FrameOfReferenceUID"):
            delattr(dataset, keyword)
        write_part10(dataset, tmp_path / path.name)
    replace(delivery, originals=list(tmp_path.iterdir())).check()


def test_an_original_whose_identity_was_removed_before_it_came_passes(deliver, tmp_path):
    delivery = deliver("axial", PatientIdentityRemoved="YES")
    for kind, path in delivery.objects.items():
        dataset = dcmread(path)
        dataset.PatientIdentityRemoved = "YES"
        dataset.save_as(tmp_path / f"{kind}.dcm")
    replace(delivery, objects={kind: tmp_path / f"{kind}.dcm" for kind in delivery.objects}).check()


def test_malformed_uids_of_the_originals_are_repeated_as_they_are(deliver):
    deliver("axial", StudyInstanceUID="1.2.826.01.5", FrameOfReferenceUID="1.2.0003").check()


def test_the_same_image_received_twice_is_not_ambiguous(deliver, tmp_path):
    delivery = deliver()
    again = tmp_path / "again.dcm"
    dataset = dcmread(delivery.originals[3])
    dataset.file_meta.ImplementationVersionName = "OTHER"
    dataset.save_as(again)
    replace(delivery, originals=[*delivery.originals, again]).check()


def test_originals_off_the_even_grid_within_the_loaders_tolerance_pass(deliver):
    def position(k):
        jitter_mm = 0.05 * np.sin(k) if 0 < k < SLICES - 1 else 0.0
        return [-31.25 + jitter_mm, -187.5, round(-803.75 + 2.5 * k + jitter_mm, 4)]

    deliver("axial", ImagePositionPatient=position).check()


def test_one_lung_without_lesions_passes(tmp_path, deliver):
    delivery = deliver()
    lungs = np.where(delivery.masks.lung_labels == 2, 2, 0).astype(np.uint8)
    masks = replace(delivery.masks, lung_labels=lungs, lesion_labels=np.zeros_like(lungs))
    one_sided = PerSide(total=delivery.result.lung_volume_ml.left, left=delivery.result.lung_volume_ml.left, right=0.0)
    nothing = PerSide(total=0.0, left=0.0, right=0.0)
    deliver_again = write_masks(
        tmp_path, masks, {"lung_volume_ml": one_sided, "ground_glass_ml": nothing, "consolidation_ml": nothing}
    )
    replace(delivery, masks=masks, **deliver_again).check()


def write_masks(folder, masks, changes):
    (folder / "ct").mkdir()
    made = make_series(folder / "ct")
    record = make_result(made, **changes)
    lungs, lesions = replace(made.lungs, labels=masks.lung_labels), replace(made.lesions, labels=masks.lesion_labels)
    objects = write_objects(made.volume, lungs, lesions, record, folder)
    return {"objects": {item.kind: item.path for item in objects}, "result": record}
