"""The rules of the front door over the wire: who is let in, what is negotiated, and how long it may last."""

import contextlib
import socket
import subprocess
import time

import pytest
from dcmtk import run
from front_door import FrontDoor, associate, is_closed_without_a_word, listens
from processes import wait_until
from pydicom import uid
from pynetdicom import evt
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from covnode.cli.local_node import LOOPBACK, NODE_AE, free_port
from covnode.settings import load_settings

pytestmark = pytest.mark.peer

SYNTAX_REFUSED, CLASS_REFUSED = 4, 3  # PS3.8 Table 9-18
WANTED = [uid.JPEGLSLossless, uid.ImplicitVRLittleEndian, uid.RLELossless]
COMPRESSED = [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a function that starts a node with settings; keys as FrontDoor.configure has them."""
    started = []

    def start(**settings):
        node = FrontDoor(tmp_path_factory.mktemp("door") / "home")
        started.append(node)
        node.init()
        node.configure(**settings)
        node.start()
        return node

    yield start
    for node in started:
        node.stop()


@pytest.fixture(scope="module")
def open_door(start):
    """A node with the settings as they ship."""
    return start(tls__port=free_port())


@pytest.fixture(scope="module")
def strict_door(start):
    """A node that takes few things from few."""
    return start(
        receive__processes=1,
        receive__calling_ae_titles='["SCANNER", "CT2"]',
        receive__sop_classes='["EnhancedCTImageStorage"]',
        receive__transfer_syntaxes=str([str(syntax) for syntax in WANTED]).replace("'", '"'),
        receive__max_pdu_bytes=32768,
    )


@pytest.fixture(scope="module")
def narrow_door(start):
    """A node with room for three associations, two of one peer."""
    return start(receive__max_associations_per_peer=2, receive__max_associations=3)


@pytest.fixture(scope="module")
def hasty_door(start):
    """A node that does not wait long."""
    return start(receive__processes=1, receive__network_timeout_s="1.5", receive__association_timeout_s="8")


def figures(association):
    assert association.is_rejected
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def accepted(association):
    """Return context id -> accepted transfer syntax, and release."""
    assert association.is_established
    found = {context.context_id: context.transfer_syntax[0] for context in association.accepted_contexts}
    association.release()
    return found


def test_another_called_title_is_rejected_for_good(open_door):
    assert figures(associate(open_door.port, called="OTHER")) == (1, 1, 7)
    told = subprocess.run(
        ["echoscu", "-v", "-aec", "OTHER", LOOPBACK, str(open_door.port)], capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    assert "Rejected Permanent" in told.stderr + told.stdout
    assert "Called AE Title Not Recognized" in told.stderr + told.stdout
    run("echoscu", "-aec", NODE_AE, LOOPBACK, str(open_door.port))


def test_another_application_context_is_rejected_for_good(open_door, monkeypatch):
    monkeypatch.setattr("pynetdicom.acse.APPLICATION_CONTEXT_NAME", "1.2.840.10008.3.1.1.2")
    assert figures(associate(open_door.port)) == (1, 1, 2)


def test_another_version_of_the_protocol_is_rejected_for_good(open_door):
    sent = []
    associate(open_door.port, evt_handlers=[(evt.EVT_DATA_SENT, lambda event: sent.append(event.data))]).release()
    request = bytearray(sent[0])
    request[6:8] = b"\0\2"  # PS3.8 Table 9-11: bit 0 is version 1
    with socket.create_connection((LOOPBACK, open_door.port), timeout=20) as connection:
        connection.sendall(request)
        assert connection.recv(10) == bytes([3, 0, 0, 0, 0, 4, 0, 1, 2, 2])


def test_a_calling_title_that_is_not_listed_is_rejected_for_good(strict_door):
    assert figures(associate(strict_door.port, calling="CT3")) == (1, 1, 3)
    assert accepted(associate(strict_door.port, calling="CT2"))


def test_an_address_that_is_not_listed_gets_no_answer(start):
    node = start(receive__processes=1, receive__allow_from='["192.0.2.0/24"]')
    assert is_closed_without_a_word(node.port, 10)
    assert not associate(node.port).is_established
    assert {line["address"] for line in node.events("address_not_allowed")} == {LOOPBACK}


def test_a_closed_gate_rejects_for_now(start):
    node = start(receive__processes=1, receive__min_free_gb="1e9")
    assert figures(associate(node.port)) == (2, 3, 1)


def test_one_peer_cannot_open_more_than_its_associations(narrow_door):
    node = narrow_door
    first, second = associate(node.port, calling="CT1"), associate(node.port, calling="CT1")
    assert first.is_established
    assert second.is_established
    assert figures(associate(node.port, calling="CT1")) == (2, 3, 2)
    other = associate(node.port, calling="CT2")
    assert other.is_established
    assert figures(associate(node.port, calling="CT3")) == (2, 3, 2)
    first.release()
    wait_until(lambda: accepted_or_none(node.port, "CT1"), 20)
    second.abort()
    wait_until(lambda: accepted_or_none(node.port, "CT3"), 20)
    other.release()


def accepted_or_none(port, calling):
    association = associate(port, calling=calling)
    return accepted(association) if association.is_established else None


def test_a_door_that_is_killed_gives_its_places_back(narrow_door):
    node = narrow_door
    held = [associate(node.port), associate(node.port)]
    assert all(association.is_established for association in held)
    assert figures(associate(node.port)) == (2, 3, 2)
    node.kill_doors()
    again = [associate(node.port), associate(node.port)]
    assert all(association.is_established for association in again)
    assert figures(associate(node.port)) == (2, 3, 2)
    for association in again:
        association.release()


def test_a_connection_that_is_closed_before_its_request_ends_at_once(open_door):
    before = len(open_door.events("association_ended"))
    for _ in range(5):
        socket.create_connection((LOOPBACK, open_door.port), timeout=10).close()
    wait_until(lambda: len(open_door.events("association_ended")) >= before + 5, 15)


def test_connections_that_ask_for_nothing_are_bounded(start):
    node = start(receive__processes=1, receive__max_associations=1)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection((LOOPBACK, node.port), timeout=10))
        wait_until(lambda: len(node.events("too_many_connections")) == 6, 20)
    wait_until(lambda: accepted_or_none(node.port, "CT1"), 20)


def test_a_silent_association_is_aborted(hasty_door):
    association = associate(hasty_door.port)
    begin_s = time.monotonic()
    wait_until(lambda: association.is_aborted, 20)
    assert 1 < time.monotonic() - begin_s < 7
    assert accepted(associate(hasty_door.port))


@pytest.mark.slow
def test_an_association_that_is_never_silent_is_aborted_at_its_total_time(hasty_door):
    association = associate(hasty_door.port)
    begin_s = time.monotonic()
    echoes = 0
    while association.is_established and time.monotonic() - begin_s < 30:
        echoes += association.send_c_echo().get("Status") == 0
        time.sleep(0.1)
    assert 7 < time.monotonic() - begin_s < 20
    assert echoes > 10
    assert association.is_aborted


def test_a_connection_without_a_request_is_closed(hasty_door):
    assert is_closed_without_a_word(hasty_door.port, 40)


def test_a_class_that_is_not_taken_is_refused_by_its_context_alone(open_door):
    association = associate(
        open_door.port, (CTImageStorage, uid.ExplicitVRLittleEndian), (MRImageStorage, uid.ExplicitVRLittleEndian)
    )
    assert association.is_established
    assert [context.result for context in association.rejected_contexts] == [CLASS_REFUSED]
    assert [context.abstract_syntax for context in association.accepted_contexts] == [CTImageStorage]
    association.release()


def test_only_the_classes_of_the_settings_are_taken(strict_door):
    association = associate(
        strict_door.port,
        (uid.EnhancedCTImageStorage, uid.ImplicitVRLittleEndian),
        (CTImageStorage, uid.ImplicitVRLittleEndian),
        (Verification, uid.ImplicitVRLittleEndian),
    )
    assert {context.abstract_syntax for context in association.accepted_contexts} == {
        uid.EnhancedCTImageStorage,
        Verification,
    }
    association.release()


def test_a_class_that_nobody_knows_is_named_at_the_start(tmp_path):
    node = FrontDoor(tmp_path / "home")
    node.init()
    node.configure(receive__sop_classes='["CTImageStorage", "CTImageStroage"]')
    with pytest.raises(AssertionError, match=r"receive\.sop_classes: CTImageStroage"):
        node.start()
    assert node.process.wait(60) != 0
    assert "Traceback" not in node.log.read_text()


def test_explicit_little_endian_is_preferred_to_implicit(open_door):
    context = (CTImageStorage, [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
    assert accepted(associate(open_door.port, context)) == {1: uid.ExplicitVRLittleEndian}


def test_uncompressed_is_preferred_to_any_compression(open_door):
    context = (CTImageStorage, [*COMPRESSED, uid.ImplicitVRLittleEndian])
    assert accepted(associate(open_door.port, context)) == {1: uid.ImplicitVRLittleEndian}


def test_lossless_is_preferred_to_lossy(open_door):
    lossy = [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K]
    for lossless in (*COMPRESSED, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.JPEGLossless):
        context = (CTImageStorage, [*lossy, lossless])
        assert accepted(associate(open_door.port, context)) == {1: lossless}


def test_every_context_gets_an_answer_of_its_own(open_door):
    contexts = [(CTImageStorage, syntax) for syntax in COMPRESSED]
    assert list(accepted(associate(open_door.port, *contexts)).values()) == COMPRESSED


def test_the_order_of_the_settings_decides_and_other_syntaxes_are_refused(strict_door):
    port, ct = strict_door.port, uid.EnhancedCTImageStorage
    assert accepted(associate(port, (ct, [*reversed(WANTED)]))) == {1: uid.JPEGLSLossless}
    assert accepted(associate(port, (ct, [uid.ExplicitVRLittleEndian, uid.RLELossless]))) == {1: uid.RLELossless}
    association = associate(port, (ct, uid.ExplicitVRLittleEndian), (Verification, uid.ImplicitVRLittleEndian))
    assert [context.result for context in association.rejected_contexts] == [SYNTAX_REFUSED]
    association.release()


def test_the_longest_pdu_of_the_settings_is_told(strict_door):
    association = associate(strict_door.port)
    assert association.is_established
    assert association.acceptor.maximum_length == 32768
    association.release()


def test_without_tls_its_port_is_closed(open_door):
    assert listens(open_door.port)
    assert not listens(load_settings(open_door.home).tls.port)
