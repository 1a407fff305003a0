import random
import shutil
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from covnode.dicom.reading import UNDEFINED_LENGTH, find_series, open_pixels, quietly, read_header
from covnode.dicom.values import integer, items, number, numbers, text, texts
from covnode.errors import NotDicom


class Malformed(str):
    """A value that its element may not have."""

    __slots__ = ()


def write_instance(path, series_instance_uid="2.25.2", transfer_syntax_uid=ExplicitVRLittleEndian, **values):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    if series_instance_uid:
        dataset.SeriesInstanceUID = series_instance_uid
    dataset.BitsAllocated, dataset.PixelRepresentation = 16, 0
    for keyword, value in values.items():
        if isinstance(value, Malformed):
            dataset.add_new(keyword, "LO", str(value))  # implicit VR: read back as what the dictionary says
        else:
            setattr(dataset, keyword, value)
    path.parent.mkdir(exist_ok=True, parents=True)
    with quietly():
        dataset.save_as(path, enforce_file_format=True)
    return path


def test_files_are_grouped_by_series_and_the_rest_is_listed(tmp_path):
    first = [write_instance(tmp_path / "b" / "2", "2.25.1"), write_instance(tmp_path / "z.dcm", "2.25.1")]
    second = [write_instance(tmp_path / "c.dcm", "2.25.2")]
    no_series = write_instance(tmp_path / "d.dcm", None)
    (tmp_path / "note.txt").write_text("a note")
    (tmp_path / "._z.dcm").write_bytes(b"\0\5\x16\7")
    shutil.copy(get_testdata_file("DICOMDIR", download=False), tmp_path / "DICOMDIR")
    found = find_series(tmp_path)
    assert {one.series_instance_uid: list(one.files) for one in found.series} == {"2.25.1": first, "2.25.2": second}
    assert found.not_dicom == (tmp_path / "._z.dcm", no_series, tmp_path / "note.txt")


def test_a_single_file_is_a_folder_of_one(tmp_path):
    path = write_instance(tmp_path / "a.dcm")
    assert find_series(path).series[0].files == (path,)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        find_series(tmp_path / "nowhere")


def test_nothing_is_printed_and_global_settings_are_restored(tmp_path, capfd):
    path = write_instance(
        tmp_path / "a.dcm",
        StudyInstanceUID="SENTINEL-1.2.x",
        KVP=Malformed("SENTINEL"),
        Modality="sentinel^",
        transfer_syntax_uid=ImplicitVRLittleEndian,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quietly():
            dataset = read_header(path, ("StudyInstanceUID", "KVP", "Modality")).dataset
            assert number(dataset, "KVP") is None
            assert text(dataset, "Modality") == "sentinel^"
            assert text(dataset, "StudyInstanceUID") == "SENTINEL-1.2.x"
        find_series(tmp_path)
        assert not caught
        read_header(path, ("StudyInstanceUID",)).dataset.StudyInstanceUID  # noqa: B018  outside, pydicom does warn
        assert caught
    assert capfd.readouterr() == ("", "")


def test_what_pydicom_would_warn_of_is_neither_warned_nor_logged(tmp_path, caplog):
    path = write_instance(tmp_path / "a.dcm", Modality="CT")
    # explicit VR under the name of implicit VR
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_header(path, ("Modality",)).dataset.Modality == "CT"
    assert not caught
    assert not caplog.records
    pydicom.dcmread(path)
    assert caplog.records


def test_a_value_against_the_rules_passes_inside_only():
    too_long = "x" * 17
    with pydicom.config.strict_reading():
        with quietly():
            assert DataElement("AccessionNumber", "SH", too_long).value == too_long
        with pytest.raises(ValueError, match="17"):
            DataElement("AccessionNumber", "SH", too_long)


def test_only_the_chosen_elements_are_kept(tmp_path):
    path = write_instance(tmp_path / "a.dcm", PatientName="SENTINEL", Modality="CT")
    dataset = read_header(path, ("Modality",)).dataset
    assert [element.keyword for element in dataset] == ["Modality"]


@pytest.mark.parametrize("transfer_syntax_uid", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_pixels_are_found_where_they_lie(tmp_path, transfer_syntax_uid):
    pixels = bytes(range(200))
    path = write_instance(tmp_path / "a.dcm", transfer_syntax_uid=transfer_syntax_uid, PixelData=pixels)
    header = read_header(path, ("Rows",))
    assert header.pixels.length == 200
    assert header.transfer_syntax_uid == transfer_syntax_uid
    with open_pixels(path, header.pixels) as file:
        assert file.read(200) == pixels
    assert read_header(write_instance(tmp_path / "b.dcm"), ()).pixels is None


def test_encapsulated_pixels_have_no_length():
    path = Path(get_testdata_file("JPEG2000.dcm", download=False))
    assert read_header(path, ("Rows",)).pixels.length == UNDEFINED_LENGTH


def test_values_that_are_absent_or_malformed_are_none(tmp_path):
    path = write_instance(
        tmp_path / "a.dcm",
        transfer_syntax_uid=ImplicitVRLittleEndian,
        KVP="",
        SliceThickness=Malformed("thick"),
        PixelSpacing=["1", "2"],
        InstanceNumber="7 ",
        ImageType=["A", "B"],
        RescaleSlope=Malformed("1e999"),
    )
    keywords = ("KVP", "SliceThickness", "PixelSpacing", "InstanceNumber", "ImageType", "RescaleSlope")
    with quietly():
        dataset = read_header(path, keywords).dataset
        assert number(dataset, "KVP") is None
        assert text(dataset, "KVP") is None
        assert number(dataset, "SliceThickness") is None
        assert number(dataset, "RescaleSlope") is None
        assert number(dataset, "Columns") is None
        assert numbers(dataset, "PixelSpacing", 2) == (1.0, 2.0)
        assert numbers(dataset, "PixelSpacing", 3) is None
        assert integer(dataset, "InstanceNumber") == 7
        assert texts(dataset, "ImageType") == ("A", "B")
        assert items(dataset, "SharedFunctionalGroupsSequence") == ()
        assert items(dataset, "ImageType") == ()


KEYWORDS = ("SOPClassUID", "Rows", "PixelSpacing", "ImageType", "SharedFunctionalGroupsSequence", "InstanceNumber")


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "rtplan.dcm"])
def test_no_damage_raises_anything_but_not_dicom(tmp_path, name):
    original = Path(get_testdata_file(name, download=False)).read_bytes()
    chance = random.Random(1)
    path = tmp_path / "damaged.dcm"
    refused = 0
    for _ in range(300):
        data = bytearray(original)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(132, min(len(data), 3000))] = chance.choice((0, 0xFF, chance.randrange(256)))
        path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        try:
            with quietly():
                dataset = read_header(path, KEYWORDS).dataset
                for keyword in KEYWORDS:
                    texts(dataset, keyword)
                    items(dataset, keyword)
        except NotDicom:
            refused += 1
    assert refused < 300
