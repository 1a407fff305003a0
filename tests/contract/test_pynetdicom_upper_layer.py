"""receive.upper_layer replaces private parts of pynetdicom: what it stands for must be what it was written for."""

import contextlib
import hashlib
import inspect
import queue
import socket
import struct
import threading

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, association, dul, transport

from covnode.dicom.dimse import VERIFICATION
from covnode.receive.p_data import Violation
from covnode.receive.upper_layer import accepted

pytestmark = pytest.mark.xdist_group("upper-layer")

# When one of these fails, pynetdicom has changed: read its new code beside upper_layer, then note the new digest.
REPLACED = {
    association.Association._run_reactor: "_run_reactor",
    association.Association.run_reactor: "run_reactor",
    association.Association.kill: "kill",
    dul.DULServiceProvider.__init__: "dul.__init__",
    dul.DULServiceProvider.run_reactor: "dul.run_reactor",
    dul.DULServiceProvider._is_transport_event: "_is_transport_event",
    dul.DULServiceProvider._read_pdu_data: "_read_pdu_data",
    dul.DULServiceProvider.kill_dul: "kill_dul",
    transport.RequestHandler._create_association: "_create_association",
}
DIGESTS = {
    "_run_reactor": "f28838c5559e462a",
    "run_reactor": "ed8bbbe3b3d6ddae",
    "kill": "8f9713666a7f4cff",
    "dul.__init__": "c82dafa9438ddf70",
    "dul.run_reactor": "e3a10eb3a0931e48",
    "_is_transport_event": "8725ed03bb8fbdef",
    "_read_pdu_data": "19f2d4e38c13c835",
    "kill_dul": "5ceccf8dd01c2072",
    "_create_association": "05c8d12b79863cdb",
}


@pytest.mark.parametrize("part", REPLACED, ids=REPLACED.get)
def test_the_replaced_parts_are_those_that_were_read(part):
    digest = hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16]
    assert digest == DIGESTS[REPLACED[part]]


class Kept:
    """Keeps what an association brings in memory."""

    def __init__(self):
        self.instances = []
        self.closed = threading.Event()

    def __call__(self, _association, request, _context_id):
        kept, chunks, memory = self, [], memoryview(bytearray(100))

        class Reception:
            def room(self):
                return memory

            def took(self, count):
                chunks.append(bytes(memory[:count]))

            def end(self):
                kept.instances.append((request.sop_instance_uid, b"".join(chunks)))
                return 0x0000, ""

            def close(self):
                kept.closed.set()

        return Reception()


@pytest.fixture
def door():
    """Accept one association on loopback; give (kept, port, the association when it was accepted)."""
    entity = AE(ae_title="DOOR")
    entity.network_timeout = 20
    entity.maximum_pdu_size = 65536
    entity.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian])
    entity.add_supported_context(VERIFICATION)
    kept, started = Kept(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            connection, peer = listener.accept()
            connection.settimeout(20)
            one = accepted(entity, connection, peer, kept)
            started.append(one)
            one.start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield kept, listener.getsockname()[1], started
        thread.join(20)
    for one in started:
        one.join(20)
        assert not one.is_alive()
        assert not one.dul.is_alive()


def scu(port):
    entity = AE(ae_title="SCU")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    entity.add_requested_context(VERIFICATION)
    connected = entity.associate("127.0.0.1", port, ae_title="DOOR")
    assert connected.is_established
    return connected


def stored(connected, ds):
    return connected.send_c_store(ds).Status


@pytest.fixture
def instance():
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.add_new(0x00091010, "OB", bytes(range(256)) * 1024)
    return ds


def test_instances_and_echoes_take_turns_and_the_release_ends_both_threads(door, instance):
    kept, port, started = door
    connected = scu(port)
    for _ in range(3):
        assert stored(connected, instance) == 0x0000
        assert connected.send_c_echo().Status == 0x0000
    connected.release()
    started[0].join(20)
    assert started[0].is_released
    assert [uid for uid, _ in kept.instances] == ["1.2.3"] * 3
    assert all(bytes(range(256)) * 1024 in raw for _, raw in kept.instances)


def test_an_abort_ends_both_threads(door, instance):
    _, port, started = door
    connected = scu(port)
    assert stored(connected, instance) == 0x0000
    connected.abort()
    started[0].join(20)
    assert started[0].is_aborted


@pytest.mark.parametrize("where", ["between two PDUs", "in a PDU"])
def test_a_connection_that_breaks_within_an_instance_keeps_nothing_of_it(door, where):
    kept, port, started = door
    connected = scu(port)
    raw = connected.dul.socket.socket
    command = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in {
            0x0002: CTImageStorage.encode() + b"\0",
            0x0100: b"\1\0",
            0x0110: b"\1\0",
            0x0700: b"\0\0",
            0x0800: b"\0\0",
            0x1000: b"1.2.34",
        }.items()
    )
    for control, value in ((3, command), (0, bytes(1000))):
        item = struct.pack(">LBB", len(value) + 2, 1, control) + value
        raw.sendall(struct.pack(">BBL", 4, 0, len(item)) + item)
    if where == "in a PDU":
        raw.sendall(struct.pack(">BBL", 4, 0, 5000) + bytes(10))
    raw.shutdown(socket.SHUT_RDWR)
    assert kept.closed.wait(20)
    started[0].join(20)
    assert kept.instances == []


@pytest.mark.parametrize(
    "pdu",
    [
        struct.pack(">BBL", 4, 0, 1 << 24),  # longer than was negotiated
        struct.pack(">BBLLBB", 4, 0, 6, 0, 1, 0),  # an item without a header
        struct.pack(">BBLLBB", 4, 0, 6, 500, 1, 3),  # an item longer than its PDU
        struct.pack(">BBL", 99, 0, 4) + bytes(4),  # no PDU of PS3.8
        struct.pack(">BBL", 1, 0, 1 << 31),  # two gigabytes of a request
    ],
    ids=["long", "short item", "long item", "unknown", "huge request"],
)
def test_what_breaks_the_protocol_is_aborted(door, pdu):
    _, port, started = door
    connected = scu(port)
    connected.dul.socket.socket.sendall(pdu)
    started[0].join(20)
    assert started[0].is_aborted


def test_what_follows_a_violation_is_not_read_as_pdus(door):
    _, port, started = door
    connected = scu(port)
    raw = connected.dul.socket.socket
    # Each eight zeros of the rest would be an invalid PDU, answered by one A-ABORT each.
    raw.sendall(struct.pack(">BBL", 4, 0, 1 << 24) + bytes(1 << 20))
    answers = b""
    with contextlib.suppress(OSError):
        while chunk := raw.recv(65536):
            answers += chunk
    started[0].join(20)
    assert len(answers) <= 10  # one A-ABORT, or a reset before it was read


def test_a_peer_that_does_not_wait_for_answers_is_cut_off(door):
    _, port, started = door
    connected = scu(port)
    lane = started[0].dul
    for _ in range(3):
        queue.Queue.put(started[0].dimse.msg_queue, (None, None))  # past the lane, which would have them taken
    with pytest.raises(Violation):
        lane._pass_to_pynetdicom(1, b"\x03")
    connected.abort()


def test_time_within_a_pdu_is_no_silence(door, instance):
    kept, port, started = door
    connected = scu(port)
    within = []
    append = kept.instances.append
    kept.instances = type(
        "Slow", (list,), {"append": lambda _self, one: (within.append(started[0].quiet_s), append(one))}
    )()
    assert stored(connected, instance) == 0x0000
    assert within == [0.0]
    connected.release()


def test_an_errand_runs_between_two_messages(door):
    _, port, started = door
    connected = scu(port)
    ran = threading.Event()
    started[0].run_soon(ran.set)
    assert ran.wait(20)
    assert connected.send_c_echo().Status == 0x0000
    connected.release()
