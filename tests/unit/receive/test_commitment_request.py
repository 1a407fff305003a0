"""The N-ACTION of storage commitment: what is refused, and that nothing is answered Success before it is on disk."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import Dataset

from covnode.receive import commitment
from covnode.receive.commitment import CommitmentScp, read_request
from covnode.receive.commitment_report import INSTANCE, Reference, Report, report_file, write_report
from covnode.records.arrival import CommitmentAsked

CT = "1.2.840.10008.5.1.4.1.1.2"


def reference(uid="1.2.3.4", sop_class=CT):
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = uid
    return item


def information(**values):
    ds = Dataset()
    for keyword, value in {"TransactionUID": "1.2.99", "ReferencedSOPSequence": [reference()], **values}.items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def action(asked=None, *, action_type=1, instance=INSTANCE):
    return SimpleNamespace(
        assoc=SimpleNamespace(requestor=SimpleNamespace(ae_title="SCANNER ")),
        request=SimpleNamespace(RequestedSOPInstanceUID=instance),
        action_type=action_type,
        action_information=information() if asked is None else asked,
    )


@pytest.fixture
def told():
    return []


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "commitments"


@pytest.fixture
def make_scp(folder, told):
    def make(closed_because=None):
        return CommitmentScp(folder, told.append, lambda _association: "assoc-1", lambda: closed_because)

    return make


def test_a_request_is_on_disk_when_the_receiver_hears_of_it(make_scp, told, folder):
    asked = information(ReferencedSOPSequence=[reference("1.2.3"), reference("1.2.4", "1.2.840.10008.5.1.4.1.1.4")])
    assert make_scp().on_action(action(asked)) == (0x0000, None)
    (message,) = told
    assert message == CommitmentAsked("assoc-1", message.file_name)
    kept = read_request(folder / message.file_name)
    assert (kept.calling_ae_title, kept.association_id, kept.transaction_uid) == ("SCANNER", "assoc-1", "1.2.99")
    assert kept.references == (Reference(CT, "1.2.3"), Reference("1.2.840.10008.5.1.4.1.1.4", "1.2.4"))
    assert (folder / message.file_name).stat().st_mode & 0o777 == 0o600
    assert "1.2" not in message.file_name


def test_file_and_folder_are_synced_before_success(make_scp, folder, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd)))
    make_scp().on_action(action())
    assert synced == [str(next(folder.iterdir())), str(folder)]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (action(action_type=2), 0x0123),
        (action(action_type=None), 0x0123),
        (action(instance="1.2.3"), 0x0112),
        (action(Dataset()), 0x0114),
        (action(information(TransactionUID=None)), 0x0114),
        (action(information(ReferencedSOPSequence=None)), 0x0114),
        (action(information(TransactionUID="")), 0x0115),
        (action(information(ReferencedSOPSequence=[])), 0x0115),
        (action(information(ReferencedSOPSequence=[Dataset()])), 0x0115),
        (action(information(ReferencedSOPSequence=[reference(), reference(uid="")])), 0x0115),
        (action(information(ReferencedSOPSequence=[reference(sop_class="CT")])), 0x0115),
        (SimpleNamespace(assoc=None), 0x0110),
    ],
)
def test_what_is_no_request_gets_the_status_of_the_standard_and_leaves_nothing(event, status, make_scp, told, folder):
    assert make_scp().on_action(event) == (status, None)
    assert told == []
    assert list(folder.iterdir()) == []


def test_a_closed_gate_takes_no_request(make_scp, told, folder):
    assert make_scp("the disk is full").on_action(action()) == (0x0213, None)
    assert told == []
    assert list(folder.iterdir()) == []


def test_a_full_disk_takes_no_request(make_scp, told, folder, monkeypatch):
    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert make_scp().on_action(action()) == (0x0213, None)
    assert told == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b'{"calling_ae_title": "SC', b"{}", b"[]", b'{"references": [1]}', b"\xff"])
def test_a_file_that_was_cut_short_is_no_request(content, tmp_path):
    path = tmp_path / "com-0.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 (json raises one of its own)
        read_request(path)


class FakeAssociation:
    def __init__(self, status):
        self.status = status
        self.sent = []

    def send_n_event_report(self, dataset, event_type, class_uid, instance_uid):
        self.sent.append((event_type, dataset, class_uid, instance_uid))
        if self.status == "closed":
            raise RuntimeError
        answer = Dataset()
        if self.status is not None:
            answer.Status = self.status
        return answer, None


@pytest.fixture
def request_file(make_scp, told, folder):
    make_scp().on_action(action())
    path = folder / told[0].file_name
    write_report(report_file(path), Report("1.2.99", (Reference(CT, "1.2.3.4"),), ()))
    return path


def test_a_report_on_the_same_association_ends_the_request_when_it_is_taken(make_scp, request_file, folder):
    association = FakeAssociation(0x0000)
    assert make_scp().report_on_same(association, request_file.name)
    ((event_type, dataset, class_uid, instance_uid),) = association.sent
    assert (event_type, dataset.TransactionUID) == (1, "1.2.99")
    assert (class_uid, instance_uid) == ("1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("status", [None, "closed", 0x0110])
def test_a_report_on_the_same_association_that_is_not_taken_leaves_the_request(status, make_scp, request_file):
    assert not make_scp().report_on_same(FakeAssociation(status), request_file.name)
    assert request_file.exists()


def test_a_report_that_is_under_way_is_not_begun_twice(make_scp, request_file):
    scp = make_scp()
    seen = []

    class Slow(FakeAssociation):
        def send_n_event_report(self, *arguments):
            seen.append(scp.report_on_same(FakeAssociation(0x0000), request_file.name))
            return super().send_n_event_report(*arguments)

    association = Slow(0x0000)
    assert scp.report_on_same(association, request_file.name)
    assert (seen, len(association.sent)) == ([False], 1)


def test_a_peer_that_is_sending_is_not_interrupted_but_the_next_report_follows_its_answer(make_scp, request_file):
    scp = make_scp()
    association = FakeAssociation(0x0110)
    association.quiet_s = 0.1
    assert not scp.report_on_same(association, request_file.name)
    assert association.sent == []
    association.quiet_s = 1.0
    scp.report_on_same(association, request_file.name)
    association.quiet_s = 0.1  # what it sent last was its answer to that
    scp.report_on_same(association, request_file.name)
    assert len(association.sent) == 2
    association.quiet_s = 0.0
    scp.report_on_same(association, request_file.name)
    assert len(association.sent) == 2


def test_statuses_are_those_of_the_standard():
    assert commitment.NO_SUCH_ACTION == 0x0123
    assert commitment.RESOURCE_LIMITATION == 0x0213
