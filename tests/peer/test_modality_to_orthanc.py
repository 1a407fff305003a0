"""DCMTK pushes a real series as a modality does; Orthanc, as the PACS, holds one SEG and one SR in its study."""

import numpy as np
import pytest
from dcmtk import SYNTAXES, compress, store, verdict
from processes import wait_until
from pydicom import dcmread

from covnode.imaging.mask_file import load_masks
from covnode.store.results import MASKS
from covnode.store.tables import InstanceRow

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def lungs_ml(seg):
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    voxel_ml = float(np.prod(measures.PixelSpacing)) * float(measures.SpacingBetweenSlices) / 1000
    labels = {int(item.SegmentNumber): item.SegmentLabel.lower() for item in seg.SegmentSequence}
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    return voxel_ml * sum(
        int(frame.sum())
        for frame, item in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True)
        if "lung" in labels[int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
    )


def test_a_real_series_comes_back_to_orthanc(node_to_orthanc, orthanc, philips_5mm, tmp_path):
    node = node_to_orthanc
    store(node.port, philips_5mm)
    wait_until(lambda: node.jobs("delivery", "delivered"), 280)
    found = orthanc.by_modality()
    assert {modality: len(instances) for modality, instances in found.items()} == {"SEG": 1, "SR": 1}
    assert len(orthanc.get("studies")) == 1
    original = dcmread(min(philips_5mm.glob("*.dcm")), stop_before_pixels=True)
    for modality, (instance,) in found.items():
        file = orthanc.download(f"instances/{instance}/file", tmp_path / f"{modality}.dcm")
        assert not [line for line in verdict(file) if line.startswith("Error")]
        ds = dcmread(file)
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
            assert str(ds[keyword].value) == str(original[keyword].value), keyword
        if modality == "SEG":
            assert 3000 < lungs_ml(ds) < 7000


def test_compressed_input_gives_identical_masks(idle_node, philips_5mm, tmp_path):
    node = idle_node
    node.init()
    node.start()
    store(node.port, philips_5mm)
    for syntax in SYNTAXES:
        store(node.port, compress(philips_5mm, tmp_path / syntax.replace(" ", "-"), syntax), syntax)
    count = 1 + len(SYNTAXES)
    wait_until(lambda: len(node.jobs("analysis", "analysed")) == count, 280)
    masks = [load_masks(node.home.results / job["job_id"] / MASKS) for job in node.jobs("analysis", "analysed")]
    with node.transaction() as session:
        received = {uid for (uid,) in session.query(InstanceRow.transfer_syntax_uid).distinct()}
    assert len(received) == count
    for other in masks[1:]:
        np.testing.assert_array_equal(other.lung_labels, masks[0].lung_labels)
        np.testing.assert_array_equal(other.lesion_labels, masks[0].lesion_labels)
        np.testing.assert_array_equal(other.affine_lps_mm, masks[0].affine_lps_mm)
