"""What each answer of a destination means: stored, to be sent later, or refused for good. A real SCP answers."""

import socket
import threading
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE

from covnode.deliver.scu import echo, send
from covnode.dicom.association import Destination
from covnode.dicom.dimse import store_answer
from covnode.errors import DeliveryRefused, PeerAway, TransientError


@pytest.fixture
def root():
    return Path(__file__).parent.parent.parent


@pytest.fixture
def ct_file(write_series):
    return min(write_series().glob("*.dcm"))


@pytest.fixture
def destination():
    """Return a function that starts an SCP which answers C-STOREs with the given statuses."""
    servers = []

    def start(*statuses, sop_class=CTImageStorage, allowed=None):
        answers = list(statuses)
        entity = AE(ae_title="PACS")
        entity.add_supported_context(sop_class)
        entity.add_supported_context("1.2.840.10008.1.1")
        if allowed:
            entity.require_calling_aet = [allowed]
        handlers = [(evt.EVT_C_STORE, lambda _event: answers.pop(0))]
        servers.append(entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers))
        return Destination("pacs", "PACS", "127.0.0.1", servers[-1].server_address[1], 5.0)

    yield start
    for server in servers:
        server.shutdown()


def stored_by(where, *paths):
    stored = []
    try:
        send("COVNODE", where, paths, lambda _path, status: stored.append(status))
    except (TransientError, DeliveryRefused) as error:
        return stored, error
    return stored, None


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_success_and_its_warnings_mean_stored(destination, ct_file, status):
    assert stored_by(destination(status), ct_file) == ([status], None)


@pytest.mark.parametrize("status", [0xA700, 0xA702, 0x0110])
def test_out_of_resources_is_tried_later_and_keeps_what_was_stored(destination, ct_file, status):
    stored, error = stored_by(destination(0x0000, status), ct_file, ct_file)
    assert stored == [0x0000]
    assert isinstance(error, TransientError)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122])
def test_a_refusal_of_the_object_is_final(destination, ct_file, status):
    stored, error = stored_by(destination(status), ct_file)
    assert stored == []
    assert isinstance(error, DeliveryRefused)
    assert error.code == f"{status:04X}"


def test_a_destination_that_does_not_know_the_sop_class_is_final(destination, ct_file):
    _, error = stored_by(destination(0x0000, sop_class=MRImageStorage), ct_file)
    assert isinstance(error, DeliveryRefused)


def test_an_ae_title_that_is_not_allowed_is_final(destination, ct_file):
    _, error = stored_by(destination(0x0000, allowed="SOMEBODY"), ct_file)
    assert isinstance(error, DeliveryRefused)
    assert error.code == "association_rejected"


def test_nobody_there_is_tried_later(ct_file):
    _, error = stored_by(Destination("pacs", "PACS", "127.0.0.1", 1, 2.0), ct_file)
    assert isinstance(error, TransientError)


def test_a_destination_that_aborts_between_two_objects_gets_the_second_later(ct_file):
    entity = AE(ae_title="PACS")
    entity.add_supported_context(CTImageStorage)
    aborted = threading.Event()

    def store(event):
        threading.Timer(0.2, lambda: (event.assoc.abort(), aborted.set())).start()
        return 0x0000

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    where = Destination("pacs", "PACS", "127.0.0.1", server.server_address[1], 5.0)
    stored = []

    def on_stored(_path, status):
        stored.append(status)
        assert aborted.wait(5)

    with pytest.raises(TransientError):
        send("COVNODE", where, [ct_file, ct_file], on_stored)
    server.shutdown()
    assert stored == [0x0000]


def test_a_host_that_cannot_be_found_is_tried_later(ct_file):
    _, error = stored_by(Destination("pacs", "PACS", "no-such-host.invalid", 104, 2.0), ct_file)
    assert isinstance(error, TransientError)


def test_an_echo_is_answered_or_says_who_does_not_answer(destination):
    echo("COVNODE", destination())
    with pytest.raises(TransientError, match="does not answer"):
        echo("COVNODE", Destination("pacs", "PACS", "127.0.0.1", 1, 2.0))


def answers_in_the_document(root):
    """Return (answer, what it is taken as) of each row of the table."""
    section = (root / "docs" / "conformance.md").read_text().split("### What the answers of a destination mean\n")[1]
    rows = [line.split("|")[1:3] for line in section.strip().split("\n\n")[0].splitlines()[2:]]
    return [(answer.strip(), taken_as.strip()) for answer, taken_as in rows]


def test_the_document_names_every_status_as_it_is_taken(root):
    listed, otherwise = {}, None
    for answer, taken_as in answers_in_the_document(root):
        if answer.startswith("C-STORE: any other"):
            otherwise = taken_as
        elif answer.startswith("C-STORE: "):
            for part in answer.removeprefix("C-STORE: ").split(", "):
                first, _, last = part.partition(" to ")
                listed |= dict.fromkeys(range(int(first, 16), int(last or first, 16) + 1), taken_as)
    for status in range(0x10000):
        assert store_answer(status) == listed.get(status, otherwise), f"{status:04X}"


REASONS = {1: (1, 2, 3, 7), 2: (1, 2), 3: (1, 2)}  # PS3.8 Table 9-21, by source


@pytest.mark.parametrize(
    "answer", [(result, source, reason) for result in (1, 2) for source in REASONS for reason in REASONS[source]]
)
def test_a_rejected_association_is_taken_as_the_document_says(root, destination, ct_file, monkeypatch, answer):
    reject = ACSE.send_reject
    monkeypatch.setattr(ACSE, "send_reject", lambda acse, *_: reject(acse, *answer))
    (taken_as,) = {t for a, t in answers_in_the_document(root) if a.startswith(f"A-ASSOCIATE-RJ, result {answer[0]} ")}
    _, error = stored_by(destination(allowed="SOMEBODY"), ct_file)
    assert type(error) is {"refused": DeliveryRefused, "not reached": PeerAway}[taken_as]


def test_nothing_leaves_when_one_of_the_objects_would_not_be_taken(destination, ct_file, tmp_path):
    dataset = dcmread(ct_file)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    other = tmp_path / "other.dcm"
    dataset.save_as(other)
    stored, error = stored_by(destination(0x0000), ct_file, other)
    assert stored == []
    assert isinstance(error, DeliveryRefused)
    assert "Enhanced CT Image Storage" in str(error)


def _close(connection):
    connection.recv(1 << 16)


def _abort(connection):
    connection.recv(1 << 16)
    connection.sendall(bytes.fromhex("07000000000400000000"))  # A-ABORT of the service-user, PS3.8 9.3.8


def _say_nothing(connection):
    while connection.recv(1 << 16):
        pass


@pytest.mark.parametrize("behave", [_close, _abort, _say_nothing])
def test_a_peer_that_closes_aborts_or_says_nothing_is_not_reached(ct_file, behave):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                behave(connection)

        threading.Thread(target=serve, daemon=True).start()
        _, error = stored_by(Destination("pacs", "PACS", "127.0.0.1", listener.getsockname()[1], 1.0), ct_file)
    assert type(error) is PeerAway


def test_a_c_store_without_an_answer_is_not_reached(ct_file):
    entity = AE(ae_title="PACS")
    entity.add_supported_context(CTImageStorage)
    given_up = threading.Event()

    def store(_event):
        given_up.wait(10)
        return 0x0000

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    _, error = stored_by(Destination("pacs", "PACS", "127.0.0.1", server.server_address[1], 1.0), ct_file)
    given_up.set()
    server.shutdown()
    assert type(error) is PeerAway
