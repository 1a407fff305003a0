import hashlib
import io
import os
import zlib
from pathlib import Path

import pytest
from blake3 import blake3
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from xxhash import xxh3_128

from covnode.errors import InstanceRefused
from covnode.receive import content
from covnode.receive.gate import Gate
from covnode.receive.recovery import recovered
from covnode.receive.spool import Spool, StoreCommand, durable_files, series_folders


def digest(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@pytest.fixture
def spool(tmp_path):
    (tmp_path / "spool" / "incoming").mkdir(parents=True)
    return Spool(tmp_path / "spool", tmp_path / "spool" / "incoming", digest)


def data_set(syntax=ExplicitVRLittleEndian, **changes):
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.9"
    ds.PatientID = "MRN"
    ds.PatientName = "DOE^JANE"
    ds.InstanceNumber = 7
    ds.ImagePositionPatient = [-100, -120.5, 33]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagesInAcquisition = 40
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    buffer = io.BytesIO()
    big, implicit = syntax == ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    plain = ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=not big)
    raw = buffer.getvalue()
    if plain != syntax:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        raw = deflater.compress(raw) + deflater.flush()
    return raw


def command(syntax=ExplicitVRLittleEndian, sop_class=CTImageStorage, sop_instance="1.2.3.4", *, stat=False):
    return StoreCommand(str(sop_class), sop_instance, str(syntax), "CT 01", stat)


def keep(spool, raw, announced=None):
    file = spool.begin(announced or command())
    for start in range(0, len(raw), 100):
        file.write(memoryview(raw)[start : start + 100])
    kept = file.keep()
    file.close()
    return kept


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.name,
)
def test_a_kept_instance_is_a_part_10_file_of_the_very_bytes(spool, tmp_path, syntax):
    raw = data_set(syntax)
    kept = keep(spool, raw, command(syntax))
    path = tmp_path / "spool" / kept.file_name
    assert path.read_bytes().endswith(raw)
    assert kept.content_digest == f"x3-{xxh3_128(raw).hexdigest()}" == path.stem
    assert kept.size_bytes == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "spool" / "incoming").iterdir())
    ds = dcmread(path)
    assert (ds.SOPInstanceUID, ds.InstanceNumber, ds.PatientName) == ("1.2.3.4", 7, "DOE^JANE")
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.file_meta.SourceApplicationEntityTitle == "CT 01"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_the_header_says_comes_with_the_instance(spool, syntax):
    kept = keep(spool, data_set(syntax, RequestedProcedurePriority="STAT"), command(syntax))
    assert kept.facts.instance_number == 7
    assert kept.facts.position_lps_mm == (-100.0, -120.5, 33.0)
    assert kept.facts.orientation_lps == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert (kept.facts.expected_instances, kept.facts.images_in_acquisition) == (None, 40)
    assert kept.facts.image_type == "ORIGINAL\\PRIMARY\\AXIAL"
    assert kept.facts.stat
    assert kept.study_digest == digest("study", "1.2.3")
    assert kept.series_digest == digest("1.2.3", "1.2.3.9")
    assert kept.sop_digest == digest("1.2.3.4")
    assert kept.source_ae_title == "CT 01"


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
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_kept_is_refused_with_its_status_and_leaves_nothing(spool, tmp_path, changes, status):
    raw = data_set(**changes)
    file = spool.begin(command())
    file.write(raw)
    with pytest.raises(InstanceRefused) as refusal:
        file.keep()
    assert refusal.value.status == status
    assert "1.2.3" not in str(refusal.value)
    file.close()
    assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]


@pytest.mark.parametrize("raw", [b"", b"\0" * 300, bytes(range(256)) * 4, b"\x08\x00\x05\x00CS\xff\xff"])
def test_bytes_that_are_no_data_set_are_refused(spool, raw):
    file = spool.begin(command())
    file.write(raw)
    with pytest.raises(InstanceRefused) as refusal:
        file.keep()
    assert refusal.value.status == 0xC000


def test_the_same_content_again_is_the_same_file_and_other_content_lies_beside_it(spool, tmp_path):
    first, again = keep(spool, data_set()), keep(spool, data_set())
    other = keep(spool, data_set(InstanceNumber=8))
    assert first == again
    assert series_folders(tmp_path / "spool") == [first.series_digest]
    assert durable_files(tmp_path / "spool", first.series_digest) == sorted([first.file_name, other.file_name])
    assert first.sop_digest == other.sop_digest


def test_the_first_file_of_a_content_stays_whoever_sends_it_again(spool, tmp_path):
    first = keep(spool, data_set())
    path = tmp_path / "spool" / first.file_name
    before = path.read_bytes()
    again = keep(spool, data_set(), command()._replace(source_ae_title="ARCHIVE0001"))
    assert path.read_bytes() == before
    assert (again.file_name, again.size_bytes) == (first.file_name, first.size_bytes)
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_a_torn_file_of_a_power_failure_is_replaced_by_the_next_try(spool, tmp_path):
    kept = keep(spool, data_set())
    path = tmp_path / "spool" / kept.file_name
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert keep(spool, data_set()) == kept
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "older", [lambda raw: f"b3-{blake3(raw).hexdigest()}", lambda raw: hashlib.sha256(raw).hexdigest()]
)
def test_a_series_that_an_older_release_began_keeps_the_kind_of_its_names(tmp_path, older):
    def restarted():
        return Spool(tmp_path / "spool", tmp_path / "spool" / "incoming", digest)

    (tmp_path / "spool" / "incoming").mkdir(parents=True)
    raw, other = data_set(), data_set(InstanceNumber=8)
    kept = keep(restarted(), raw)
    new = tmp_path / "spool" / kept.file_name
    old = new.with_name(f"{older(raw)}.dcm")
    new.rename(old)
    spool = restarted()
    assert recovered(spool, old, f"{old.parent.name}/{old.name}").content_digest == old.stem
    assert keep(spool, raw).content_digest == old.stem
    assert keep(spool, other).content_digest == older(other)
    assert len(list(old.parent.iterdir())) == 2
    old.write_bytes(new_bytes := old.read_bytes()[:-1])
    assert recovered(spool, old, f"{old.parent.name}/{old.name}") is None
    assert old.read_bytes() == new_bytes


def test_two_contents_of_one_checksum_are_never_taken_for_one(spool, tmp_path, monkeypatch):
    class Colliding:
        def update(self, _data):
            pass

        def hexdigest(self):
            return "same"

    monkeypatch.setitem(content._HASHERS, content.KIND, Colliding)
    kept = keep(spool, data_set())
    assert keep(spool, data_set()) == kept
    with pytest.raises(InstanceRefused, match="same checksum") as refused:
        keep(spool, data_set(InstanceNumber=8))
    assert refused.value.status == 0x0110
    assert [path.name for path in (tmp_path / "spool").rglob("*.dcm")] == ["x3-same.dcm"]


def test_a_patient_is_told_from_another_by_id_and_name_but_not_by_the_spelling_of_a_console(spool):
    jane = keep(spool, data_set()).patient_digest
    assert keep(spool, data_set(PatientName="Doe^Jane^^Dr.")).patient_digest == jane
    assert keep(spool, data_set(PatientName="DOE^JOHN")).patient_digest != jane
    assert keep(spool, data_set(PatientID="MRN-2")).patient_digest != jane


@pytest.mark.parametrize("taken", [1, 131, 132, 400])
def test_a_head_that_the_system_takes_in_part_is_written_to_its_end(spool, tmp_path, monkeypatch, taken):
    whole = os.writev

    def in_part(descriptor, parts):
        first = b"".join(bytes(part) for part in parts)[:taken]
        return whole(descriptor, [first])

    monkeypatch.setattr(os, "writev", in_part)
    kept = keep(spool, data_set())
    ds = dcmread(tmp_path / "spool" / kept.file_name)
    assert ds.PatientName == "DOE^JANE"
    assert (tmp_path / "spool" / kept.file_name).stat().st_size == kept.size_bytes


def test_a_full_disk_leaves_nothing(spool, tmp_path, monkeypatch):
    file = spool.begin(command())
    file.write(data_set())

    def no_room(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space"):
        file.keep()
    file.close()
    assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]


def test_file_and_folders_are_synced_before_the_instance_counts_as_kept(spool, tmp_path, monkeypatch):
    synced = []
    sync = os.fsync

    def noted(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    kept = keep(spool, data_set())
    folder = (tmp_path / "spool" / kept.file_name).parent
    # The spool that holds the new folder, the file under its first name, the folder that holds the final name.
    assert [str(Path(path).parent) for path in synced[:2]] == [str(tmp_path), str(tmp_path / "spool" / "incoming")]
    assert synced[2:] == [str(folder)]


def test_a_recovered_instance_is_what_the_door_would_have_told(spool, tmp_path):
    kept = keep(spool, data_set())
    path = tmp_path / "spool" / kept.file_name
    assert recovered(spool, path, kept.file_name) == kept


def test_a_sender_whose_name_rotted_on_the_disk_is_recovered_without_what_no_database_takes(spool, tmp_path):
    kept = keep(spool, data_set())
    path = tmp_path / "spool" / kept.file_name
    path.write_bytes(path.read_bytes().replace(b"CT 01", b"C\0 01"))
    assert recovered(spool, path, kept.file_name).source_ae_title == "C 01"


def test_a_damaged_file_is_not_recovered(spool, tmp_path):
    kept = keep(spool, data_set())
    path = tmp_path / "spool" / kept.file_name
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert recovered(spool, path, kept.file_name) is None
    path.write_bytes(raw[:100])
    assert recovered(spool, path, kept.file_name) is None


def test_the_gate_is_closed_at_the_watermark_and_when_it_is_told_to(tmp_path):
    assert Gate(tmp_path, 0.0).closed_because() is None
    assert "min_free_gb" in Gate(tmp_path, 1e9).closed_because()
    gate = Gate(tmp_path, 0.0, told="the database does not answer")
    assert gate.closed_because() == "the database does not answer"
    gate.told = None
    assert gate.closed_because() is None


def test_the_gate_opens_again_only_with_some_room_to_spare(tmp_path, monkeypatch):
    free = [9.9]

    class Disk:
        f_frsize = 1

        @property
        def f_bavail(self):
            return free[0] * 1e9

    monkeypatch.setattr(os, "statvfs", lambda _path: Disk())
    gate = Gate(tmp_path, 10.0)
    assert gate.closed_because() is not None
    free[0] = 10.5
    assert gate.closed_because() is not None
    free[0] = 11.1
    assert gate.closed_because() is None
    free[0] = 10.5
    assert gate.closed_because() is None
