"""Other people's programs read our objects as they leave: dciodvfy, dsrdump, and the two readers of dcmqi."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "report"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "interlock"))

from ct_series import LAYOUTS, LESION_MODEL, LUNG_MODEL
from delivery_under_test import run_stages

from covnode.records.result import ObjectKind

pytestmark = pytest.mark.peer

DCMQI = Path(sys.executable).parent
REPORTS = (ObjectKind.SR, ObjectKind.SR_WITH_DEMONSTRATION)
WANTED = {
    "Left lung": ("lung_labels", 2),
    "Right lung": ("lung_labels", 1),
    "Ground glass opacity": ("lesion_labels", 1),
    "Consolidation": ("lesion_labels", 2),
}


@pytest.fixture(scope="module", params=LAYOUTS)
def delivery(request, tmp_path_factory):
    return run_stages(tmp_path_factory.mktemp(request.param), request.param)[0]


def complaints(path):
    """Errors and warnings of dciodvfy, but for the one that every private coding scheme gets."""
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = [line for line in run.stderr.splitlines() if line.startswith(("Error", "Warning", "Abort"))]
    return [line for line in lines if not ("99COVNODE" in line and line.startswith("Warning"))]


def run(program, *arguments):
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("latin-1")  # the character set that the originals state


def test_dciodvfy_finds_no_error(delivery):
    for path in delivery.objects.values():
        assert complaints(path) == []


@pytest.mark.parametrize(
    "result",
    [
        {"models": (LUNG_MODEL, LESION_MODEL)},
        {"covid_probability": None, "severity_score": None, "severity_category": None, "ctsi": None, "cautions": ()},
        {"cautions": ("Schichtdicke ≥ 5 mm.", "x" * 3000)},
    ],
    ids=["no demonstration", "abstained", "long and foreign sentences"],
)
def test_dciodvfy_finds_no_error_in_any_kind_of_result(tmp_path, result):
    for path in run_stages(tmp_path, result=result)[0].objects.values():
        assert complaints(path) == []


def test_dciodvfy_does_find_an_error(tmp_path, delivery):
    """The gate can fail."""
    broken = dcmread(delivery.objects[ObjectKind.SR])
    del broken.CompletionFlag
    broken.save_as(tmp_path / "broken.dcm")
    assert any("CompletionFlag" in line for line in complaints(tmp_path / "broken.dcm"))


# An ITK image has no sheared grid: of slices of a tilted gantry dcmqi writes an upright one half a pixel off, or none.
@pytest.mark.parametrize("delivery", [layout for layout in LAYOUTS if "tilted" not in layout], indirect=True)
def test_segimage2itkimage_finds_our_voxels_at_their_place(tmp_path, delivery):
    seg = delivery.objects[ObjectKind.SEG]
    run(DCMQI / "segimage2itkimage", "--inputDICOM", seg, "--outputDirectory", tmp_path, "--outputType", "nrrd")
    labels = {segment.SegmentNumber: segment.SegmentLabel for segment in dcmread(seg).SegmentSequence}
    assert list(labels.values()) == list(WANTED)
    for number, label in labels.items():
        name, value = WANTED[label]
        stored = getattr(delivery.masks, name) == value
        image = SimpleITK.ReadImage(str(tmp_path / f"{number}.nrrd"))
        assert np.array_equal(canonical(image, delivery.masks.affine_lps_mm, stored.shape), stored)


def canonical(image, affine_lps_mm, shape):
    """Put each set voxel of an ITK image (LPS) into our grid by patient coordinates."""
    k, j, i = np.nonzero(SimpleITK.GetArrayFromImage(image))
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    points = np.array(image.GetOrigin()) + np.stack([i, j, k], axis=1) @ direction.T
    inverse = np.linalg.inv(affine_lps_mm)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    assert np.abs(index - np.rint(index)).max() < 0.02
    mask = np.zeros(shape, bool)
    mask[tuple(np.rint(index).astype(int).T[::-1])] = True
    assert np.count_nonzero(mask) == len(k)
    return mask


def test_tid1500reader_finds_our_figures(tmp_path, delivery):
    for kind in REPORTS:
        out = tmp_path / f"{kind}.json"
        run(DCMQI / "tid1500reader", "--inputDICOM", delivery.objects[kind], "--outputMetadata", out)
        groups = json.loads(out.read_text(encoding="latin-1"))["Measurements"]
        found = {
            group["TrackingIdentifier"]: float(group["measurementItems"][0]["value"])
            for group in groups
            if group["TrackingIdentifier"] in WANTED
        }
        record = delivery.result
        assert found == {
            "Left lung": pytest.approx(record.lung_volume_ml.left, abs=0.00501),
            "Right lung": pytest.approx(record.lung_volume_ml.right, abs=0.00501),
            "Ground glass opacity": pytest.approx(record.ground_glass_ml.total, abs=0.00501),
            "Consolidation": pytest.approx(record.consolidation_ml.total, abs=0.00501),
        }
        numbers = {group.get("ReferencedSegment") for group in groups if group["TrackingIdentifier"] in WANTED}
        assert numbers == {1, 2, 3, 4}


def test_dsrdump_prints_the_report(delivery):
    for kind in REPORTS:
        text = run("dsrdump", "+Pc", "+Pl", delivery.objects[kind])
        assert "demonstration, not for clinical use" in text
        assert f'"{round(delivery.result.lung_volume_ml.total, 2):g}" (ml,UCUM,"ml")' in text
        assert ('"81.25" (%,UCUM,"Percent")' in text) == (kind is ObjectKind.SR_WITH_DEMONSTRATION)
