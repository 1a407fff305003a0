"""A report on the association that asked for it, pynetdicom on both sides: answered, crossed, ignored, released."""

import queue
import socket
import threading
import time

import pytest
from pynetdicom import AE, evt

from covnode.dicom.dimse import STORAGE_COMMITMENT, VERIFICATION
from covnode.errors import TransientError
from covnode.receive import commitment_report
from covnode.receive.commitment_report import INSTANCE, NotAnsweredError, Reference, Report, deliver_on_same
from covnode.receive.upper_layer import accepted

pytestmark = pytest.mark.xdist_group("upper-layer")

REPORT = Report("1.2.99", (Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),), ())


def no_instances(*_arguments):
    raise AssertionError


class Asked:
    """An association of a door, and the peer that has opened it."""

    def __init__(self, listener, contexts):
        door = AE(ae_title="DOOR")
        door.network_timeout = 20
        self.reports, self.news = [], threading.Event()
        self.status = 0x0000
        for one in (STORAGE_COMMITMENT, VERIFICATION):
            door.add_supported_context(one)
        began = queue.Queue()

        def accept():
            connection, address = listener.accept()
            connection.settimeout(20)
            association = accepted(door, connection, address, no_instances)
            association.bind(evt.EVT_C_ECHO, lambda _event: 0x0000)
            association.start()
            began.put(association)

        threading.Thread(target=accept).start()
        entity = AE(ae_title="SCU")
        for one in contexts:
            entity.add_requested_context(one)
        self.peer = entity.associate(
            "127.0.0.1", listener.getsockname()[1], evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._on_report)]
        )
        self.association = began.get(timeout=20)

    def ignore_reports(self):
        """Have the peer take whatever it is asked, and answer nothing."""
        self.peer._serve_request = lambda message, _context_id: (self.reports.append(message), self.news.set())

    def deliver(self):
        """Give the report by an errand; return the queue with what it raised, or None."""
        ended = queue.Queue()

        def errand():
            try:
                deliver_on_same(self.association, REPORT)
            except TransientError as error:
                ended.put(error)
            else:
                ended.put(None)

        self.association.run_soon(errand)
        return ended

    def _on_report(self, event):
        self.reports.append((event.event_type, str(event.event_information.TransactionUID), event.request))
        return self.status, None


@pytest.fixture
def make_asked():
    made = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def make(contexts=(STORAGE_COMMITMENT, VERIFICATION)):
            made.append(Asked(listener, contexts))
            return made[-1]

        yield make
        for one in made:
            if one.peer.is_established:
                one.peer.abort()
            one.association.join(20)
            assert not one.association.is_alive()


def test_a_report_reaches_the_peer_and_its_answer_comes_back(make_asked):
    asked = make_asked()
    for _ in range(3):
        assert asked.deliver().get(timeout=20) is None
    assert [report[:2] for report in asked.reports] == [(1, "1.2.99")] * 3
    request = asked.reports[0][2]
    assert (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID) == (STORAGE_COMMITMENT, INSTANCE)
    asked.peer.release()
    asked.association.join(20)
    assert asked.association.is_released


def test_an_answer_that_is_no_success_says_so(make_asked):
    asked = make_asked()
    asked.status = 0x0110
    assert str(asked.deliver().get(timeout=20)) == "the peer answers the report with 0110"


def test_a_peer_that_answers_no_report_is_served_meanwhile_and_released_at_once(make_asked):
    asked = make_asked()
    asked.ignore_reports()
    ended = asked.deliver()
    assert asked.news.wait(20)
    assert asked.peer.send_c_echo().Status == 0x0000
    assert ended.empty()
    begin_s = time.monotonic()
    asked.peer.release()
    asked.association.join(20)
    assert time.monotonic() - begin_s < 3
    assert (asked.association.is_released, asked.association.is_aborted) == (True, False)
    assert asked.peer.is_released
    assert isinstance(ended.get(timeout=1), NotAnsweredError)


def test_a_peer_that_aborts_ends_the_wait(make_asked):
    asked = make_asked()
    asked.ignore_reports()
    ended = asked.deliver()
    assert asked.news.wait(20)
    asked.peer.abort()
    assert isinstance(ended.get(timeout=5), NotAnsweredError)
    asked.association.join(20)
    assert asked.association.is_aborted


def test_a_peer_that_stays_silent_keeps_its_association(make_asked, monkeypatch):
    monkeypatch.setattr(commitment_report, "_ANSWERED_WITHIN_S", 0.1)
    asked = make_asked()
    asked.ignore_reports()
    assert isinstance(asked.deliver().get(timeout=20), NotAnsweredError)
    assert asked.peer.send_c_echo().Status == 0x0000
    assert asked.association.is_established


def test_an_association_without_the_context_carries_no_report(make_asked):
    assert "cannot carry" in str(make_asked([VERIFICATION]).deliver().get(timeout=20))
