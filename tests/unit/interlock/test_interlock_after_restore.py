"""Through the stages as they run: de-identified, loaded, written, identity restored, held against the originals."""

from dataclasses import replace

import numpy as np
import pytest
from ct_series import LAYOUTS
from delivery_under_test import run_stages
from pydicom import dcmread

from covnode.errors import DeliveryRefused
from covnode.interlock.refusals import Rule
from covnode.records.result import ObjectKind


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_passes(tmp_path, layout):
    delivery, _ = run_stages(tmp_path, layout)
    delivery.check()
    assert dcmread(delivery.objects[ObjectKind.SR]).PatientName == "Müller^Jörg"


@pytest.mark.parametrize(
    "options",
    [
        {
            "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
            "PatientName": "Yamada^Tarou=山田^太郎",
        },
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Иванов^Пётр", "PatientID": "Ж-1"},
        {"SpecificCharacterSet": None, "PatientName": "Plain^Name^^^", "StudyID": " S 1 "},
        {
            "AccessionNumber": None,
            "StudyID": None,
            "PatientBirthDate": None,
            "IssuerOfPatientID": None,
            "PatientSex": None,
        },
        {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "before it came"},
        {"TimezoneOffsetFromUTC": "-0330", "SliceThickness": None},
        {"PatientSex": "U"},
    ],
    ids=["Japanese", "Cyrillic", "no character set", "little known", "removed before", "no thickness", "odd sex"],
)
def test_every_kind_of_identity_passes(tmp_path, options):
    run_stages(tmp_path, **options)[0].check()


def test_without_the_identity_restored_it_is_refused(tmp_path):
    delivery, pseudonymous = run_stages(tmp_path)
    with pytest.raises(DeliveryRefused) as caught:
        replace(delivery, objects=pseudonymous).check()
    assert caught.value.code == Rule.PATIENT


def test_masks_of_the_mirrored_volume_are_refused(tmp_path):
    """As if the volume stage had mixed up the patient's sides: masks, record and SEG agree, the patient does not."""
    delivery, _ = run_stages(tmp_path)
    mirrored = np.ascontiguousarray(delivery.masks.lung_labels[..., ::-1])
    with pytest.raises(DeliveryRefused) as caught:
        replace(delivery, masks=replace(delivery.masks, lung_labels=mirrored)).check()
    assert caught.value.code in {Rule.VOXELS, Rule.FRAMES}
