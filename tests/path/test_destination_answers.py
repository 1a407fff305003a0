"""What each answer of a destination means: stored, to be sent later, or refused for good. A real SCP answers."""

import threading

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, evt

from covnode.deliver.scu import echo, send
from covnode.dicom.association import Destination
from covnode.errors import DeliveryRefused, TransientError


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
