"""dicom.association mends a race of pynetdicom's requestor: shown by having its thread never pause."""

import time

import pytest
from pynetdicom import AE, evt

from covnode.dicom import association
from covnode.dicom.association import Destination, associate
from covnode.dicom.dimse import VERIFICATION


@pytest.fixture
def echo_port():
    entity = AE(ae_title="SCP")
    entity.add_supported_context(VERIFICATION)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _event: 0x0000)])
    yield server.server_address[1]
    server.shutdown()


def answers(port, count):
    connected = associate("SCU", Destination("peer", "SCP", "127.0.0.1", port, 2.0), [(VERIFICATION, None)])
    # The thread of the association is about to look for messages whenever a caller begins to wait for its answer.
    connected._reactor_checkpoint.wait = lambda: time.sleep(0.02)
    take = connected.dimse.get_msg

    def take_late(**how):
        if how.get("block"):
            time.sleep(0.06)
        return take(**how)

    connected.dimse.get_msg = take_late
    statuses = []
    for _ in range(count):
        statuses.append(connected.send_c_echo().get("Status"))
        if statuses[-1] is None:
            break
    connected.abort()
    return statuses


def test_every_answer_reaches_its_caller(echo_port):
    assert answers(echo_port, 5) == [0x0000] * 5


def test_without_the_mend_an_answer_gets_lost(echo_port, monkeypatch):
    monkeypatch.setattr(association, "_return_stolen_answers", lambda _association: None)
    assert answers(echo_port, 5)[-1] is None
