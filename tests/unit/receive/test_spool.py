import hashlib

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from covnode.errors import InstanceRefused
from covnode.receive.spool import clear_incoming, make_durable, read_incoming


def write(path, **changes):
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.9"
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def test_the_digest_covers_the_data_set_and_not_the_file_meta(tmp_path):
    one = write(tmp_path / "one.dcm")
    raw = one.read_bytes()
    start = 144 + int.from_bytes(raw[140:144], "little")
    instance = read_incoming(one, CTImageStorage, "1.2.3.4")
    assert instance.content_sha256 == hashlib.sha256(raw[start:]).hexdigest()
    assert instance.size_bytes == len(raw)
    assert (instance.study_instance_uid, instance.series_instance_uid) == ("1.2.3", "1.2.3.9")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"SeriesInstanceUID": None}, 0xC000),
        ({"StudyInstanceUID": "../../etc/passwd"}, 0xC000),
        ({"SOPInstanceUID": "1." + "2" * 70}, 0xC000),
        ({"SOPInstanceUID": "1.2.3.5"}, 0xA900),
        ({"SOPClassUID": EnhancedCTImageStorage}, 0xA900),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_status(tmp_path, changes, status):
    path = write(tmp_path / "x.dcm", **changes)
    with pytest.raises(InstanceRefused) as refusal:
        read_incoming(path, CTImageStorage, "1.2.3.4")
    assert refusal.value.status == status
    assert "1.2.3" not in str(refusal.value)


def test_bytes_that_are_no_data_set_are_refused(tmp_path):
    path = tmp_path / "noise.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + bytes(range(256)) * 4)
    with pytest.raises(InstanceRefused) as refusal:
        read_incoming(path, CTImageStorage, "1.2.3.4")
    assert refusal.value.status == 0xC000


def test_a_durable_instance_lies_under_the_digest_of_its_content(tmp_path):
    instance = read_incoming(write(tmp_path / "x.dcm"), CTImageStorage, "1.2.3.4")
    before = instance.path.read_bytes()
    name = make_durable(instance, tmp_path / "spool" / "ser-1")
    kept = tmp_path / "spool" / "ser-1" / name
    assert name == f"{instance.content_sha256}.dcm"
    assert kept.read_bytes() == before
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not instance.path.exists()


def test_only_abandoned_files_are_cleared(tmp_path):
    (tmp_path / "fresh.dcm").write_bytes(b"x")
    clear_incoming(tmp_path, untouched_s=60)
    assert [path.name for path in tmp_path.iterdir()] == ["fresh.dcm"]
    clear_incoming(tmp_path, untouched_s=0)
    assert list(tmp_path.iterdir()) == []
