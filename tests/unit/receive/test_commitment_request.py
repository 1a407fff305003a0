"""The N-ACTION of storage commitment: what is refused, and that nothing is answered Success before it is on disk."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import Dataset

from covnode.errors import TransientError
from covnode.receive import commitment
from covnode.receive.commitment import CommitmentScp, read_request
from covnode.receive.commitment_report import INSTANCE, NotAnsweredError, Reference, Report, report_file, write_report
from covnode.receive.drafts import Drafts
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
def incoming(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def make_scp(folder, incoming, told):
    def make(closed_because=None):
        return CommitmentScp(
            folder, Drafts(incoming), told.append, lambda _association: "assoc-1", lambda: closed_because
        )

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


def test_file_and_folder_are_synced_before_success(make_scp, folder, incoming, monkeypatch):
    synced, whole = [], []
    fsync = os.fsync

    def noted(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        whole.extend(read_request(path).transaction_uid for path in folder.iterdir())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    make_scp().on_action(action())
    assert [path.parent for path in synced] == [incoming, folder.parent]
    assert synced[1] == folder
    assert whole == ["1.2.99"]  # the name appears when all of it is there: the receiver may read it at any time
    assert list(incoming.iterdir()) == []


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
        (action(information(ReferencedSOPSequence=[reference(uid="....")])), 0x0115),
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


def test_a_full_disk_takes_no_request(make_scp, told, folder, incoming, monkeypatch):
    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert make_scp().on_action(action()) == (0x0213, None)
    assert told == []
    assert list(folder.iterdir()) == list(incoming.iterdir()) == []


def test_one_ae_cannot_let_more_requests_wait_than_its_share(make_scp, folder, monkeypatch):
    monkeypatch.setattr(commitment, "_MOST_WAITING_OF_ONE_AE", 2)
    scp = make_scp()
    other = action()
    other.assoc.requestor.ae_title = "SCANNER2"
    assert [scp.on_action(action())[0] for _ in range(3)] == [0x0000, 0x0000, 0x0213]
    assert scp.on_action(other)[0] == 0x0000
    waiting = [path for path in folder.iterdir() if read_request(path).calling_ae_title == "SCANNER"]
    assert len(waiting) == 2
    waiting[0].unlink()
    assert scp.on_action(action())[0] == 0x0000


def test_all_requests_that_wait_are_bounded(make_scp, folder, monkeypatch):
    monkeypatch.setattr(commitment, "_MOST_WAITING", 1)
    assert [make_scp().on_action(action())[0] for _ in range(2)] == [0x0000, 0x0213]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b'{"calling_ae_title": "SC', b"{}", b"[]", b'{"references": [1]}', b"\xff"])
def test_a_file_that_was_cut_short_is_no_request(content, tmp_path):
    path = tmp_path / "com-0.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 (json raises one of its own)
        read_request(path)


class FakeAssociation:
    """Gives the answer that it is made with; ``then`` runs while it does."""

    def __init__(self, error=None, then=None):
        self.error = error
        self.then = then
        self.sent = []
        self.quiet_s = 1.0

    def take(self, report):
        self.sent.append(report)
        if self.then is not None:
            self.then()
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def _reports_go_to_fakes(monkeypatch):
    monkeypatch.setattr(commitment, "deliver_on_same", FakeAssociation.take)


@pytest.fixture
def request_file(make_scp, told, folder):
    make_scp().on_action(action())
    path = folder / told[0].file_name
    write_report(report_file(path), Report("1.2.99", (Reference(CT, "1.2.3.4"),), ()))
    return path


def test_a_report_on_the_same_association_ends_the_request_when_it_is_taken(make_scp, request_file, folder):
    association = FakeAssociation()
    assert make_scp().report_on_same(association, request_file.name)
    assert association.sent == [Report("1.2.99", (Reference(CT, "1.2.3.4"),), ())]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("error", [TransientError("closed"), NotAnsweredError("no answer"), OSError()])
def test_a_report_on_the_same_association_that_is_not_taken_leaves_the_request(error, make_scp, request_file):
    assert not make_scp().report_on_same(FakeAssociation(error), request_file.name)
    assert request_file.exists()


def test_a_peer_that_answers_no_report_is_given_no_other_on_that_association(make_scp, request_file):
    scp = make_scp()
    deaf = FakeAssociation(NotAnsweredError("no answer"))
    assert [scp.report_on_same(deaf, request_file.name) for _ in range(2)] == [False, False]
    assert len(deaf.sent) == 1
    assert scp.report_on_same(FakeAssociation(), request_file.name)


def test_a_report_that_is_under_way_is_not_begun_twice(make_scp, request_file):
    scp = make_scp()
    seen = []
    other = FakeAssociation()
    association = FakeAssociation(then=lambda: seen.append(scp.report_on_same(other, request_file.name)))
    assert scp.report_on_same(association, request_file.name)
    assert (seen, len(association.sent), other.sent) == ([False], 1, [])


def test_a_peer_that_is_sending_is_not_interrupted_but_the_next_report_follows_its_answer(make_scp, request_file):
    scp = make_scp()
    association = FakeAssociation(TransientError("refused"))
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
