"""The manifest of a site's data: what is refused and why, and the split by patient."""

import pytest

from covnode.errors import ConfigurationError
from covnode.learn.manifest import read_manifest, split_by_patient


def manifest(folder, text):
    (folder / "a.nii").touch()
    path = folder / "data.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,patient\na.nii,1\n", "lacks the column label"),
        ("path,patient,label\n", "no row"),
        ("path,patient,label\nb.nii,1,0\n", "line 2: there is no such path"),
        ("path,patient,label\na.nii,,0\n", "line 2: the patient is empty"),
        ("path,patient,label\na.nii,1,0\na.nii,1,yes\n", "line 3: label is no number"),
        ("path,patient,label\na.nii,1,0.5\n", "line 2: label must be 0 or 1"),
        ("path,patient,label\na.nii,1,nan\n", "line 2: label must be 0 or 1"),
    ],
)
def test_a_manifest_that_cannot_be_used_names_the_line_and_the_reason(tmp_path, text, why):
    with pytest.raises(ConfigurationError, match=why):
        read_manifest(manifest(tmp_path, text), "classification")


def test_a_score_is_0_to_100(tmp_path):
    rows = read_manifest(manifest(tmp_path, "path,patient,score\na.nii,1,43.03\n"), "severity")
    assert [(row.patient, row.target) for row in rows] == [("1", 43.03)]
    with pytest.raises(ConfigurationError, match="0 to 100"):
        read_manifest(manifest(tmp_path, "path,patient,score\na.nii,1,100.1\n"), "severity")


def test_no_patient_is_on_both_sides_of_the_split(tmp_path):
    lines = "".join(f"a.nii,p{number % 50},{number % 2}\n" for number in range(150))
    rows = read_manifest(manifest(tmp_path, "path,patient,label\n" + lines), "classification")
    training, held_out = split_by_patient(rows, 20, seed=0)
    sides = [{row.patient for row in side} for side in (training, held_out)]
    assert not sides[0] & sides[1]
    assert (len(sides[0]), len(sides[1])) == (40, 10)
    assert len(training) + len(held_out) == 150
    assert split_by_patient(rows, 20, seed=0) == (training, held_out)
    assert split_by_patient(rows, 20, seed=1) != (training, held_out)


def test_one_patient_cannot_be_split(tmp_path):
    rows = read_manifest(manifest(tmp_path, "path,patient,label\na.nii,1,0\n"), "classification")
    with pytest.raises(ConfigurationError, match="two patients"):
        split_by_patient(rows, 20, seed=0)
