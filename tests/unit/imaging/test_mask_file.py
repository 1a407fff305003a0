import numpy as np
import pytest

from covnode.errors import ReportInvalid
from covnode.imaging.mask_file import load_masks, save_masks

AFFINE = np.array([[0.7, 0, 0, -10], [0, 0.8, 0, 20.5], [0, 0, 2.5, -803.75], [0, 0, 0, 1]])


@pytest.fixture
def masks():
    generator = np.random.default_rng(3)
    return generator.integers(0, 3, (7, 9, 5), dtype=np.uint8), generator.integers(0, 3, (7, 9, 5), dtype=np.uint8)


def test_what_is_read_is_what_was_stored(tmp_path, masks):
    lungs, lesions = masks
    save_masks(tmp_path / "masks.npz", lungs, lesions, AFFINE)
    stored = load_masks(tmp_path / "masks.npz")
    assert np.array_equal(stored.lung_labels, lungs)
    assert np.array_equal(stored.lesion_labels, lesions)
    assert np.array_equal(stored.affine_lps_mm, AFFINE)
    assert stored.lung_labels.dtype == stored.lesion_labels.dtype == np.uint8
    assert stored.affine_lps_mm.dtype == np.float64


def test_the_same_masks_give_the_same_bytes_and_nothing_else_stays(tmp_path, masks):
    for name in ("first", "second"):
        save_masks(tmp_path / name, *masks, AFFINE)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_views_are_stored_as_they_look(tmp_path, masks):
    lungs, lesions = masks
    save_masks(tmp_path / "masks", lungs[:, ::-1], lesions[..., ::-1], AFFINE)
    stored = load_masks(tmp_path / "masks")
    assert np.array_equal(stored.lung_labels, lungs[:, ::-1])
    assert np.array_equal(stored.lesion_labels, lesions[..., ::-1])


def test_empty_space_takes_no_room(tmp_path):
    lungs = np.zeros((100, 256, 256), np.uint8)
    lungs[20:80, 40:200, 30:100] = 1
    save_masks(tmp_path / "masks", lungs, np.zeros_like(lungs), AFFINE)
    assert (tmp_path / "masks").stat().st_size < 60_000


@pytest.mark.parametrize(
    ("lungs", "lesions", "affine"),
    [
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 5), np.uint8), AFFINE),
        (np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint8), AFFINE),
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8), AFFINE[:3]),
        (np.full((2, 3, 4), 16, np.uint8), np.zeros((2, 3, 4), np.uint8), AFFINE),
        (np.zeros((2, 3, 4), np.uint8), np.full((2, 3, 4), 255, np.uint8), AFFINE),
    ],
    ids=["shapes differ", "no slices", "no affine", "lung label too high", "lesion label too high"],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, lungs, lesions, affine):
    with pytest.raises(ReportInvalid):
        save_masks(tmp_path / "masks", lungs, lesions, affine)
    assert not list(tmp_path.iterdir())


def test_a_damaged_absent_or_foreign_file_is_refused(tmp_path, masks):
    path = tmp_path / "masks"
    with pytest.raises(ReportInvalid):
        load_masks(path)
    save_masks(path, *masks, AFFINE)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:60] + bytes([whole[60] ^ 0xFF]) + whole[61:]):
        path.write_bytes(damaged)
        with pytest.raises(ReportInvalid):
            load_masks(path)
    np.savez(tmp_path / "other.npz", labels=np.zeros((2, 2)), affine_lps_mm=AFFINE)
    with pytest.raises(ReportInvalid):
        load_masks(tmp_path / "other.npz")
