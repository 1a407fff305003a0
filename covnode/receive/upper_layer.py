"""pynetdicom's acceptor without its polling, and C-STORE past it: everything that touches pynetdicom's private parts.

Comes from scp, which accepts a connection; goes to p_data with each P-DATA-TF of an established association. The rest:
negotiation, release, abort and every message but C-STORE-RQ, stays with pynetdicom's state machine and service classes.
"""

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from functools import partial

from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AddressInformation, AssociationSocket

from covnode.receive.p_data import PDataLane, Reception, Violation
from covnode.receive.pdu_stream import ConnectionClosed, PduStream
from covnode.receive.store_commands import StoreRequest
from covnode.receive.telling_queue import TellingQueue

_P_DATA_TF = 0x04
_ESTABLISHED = "Sta6"
_CLOSING = "Sta13"
_IDLE = "Sta1"
# Timers of PS3.8 (ARTIM) run outside the established state only, and are looked at this often there.
_TIMER_TICK_S = 0.5
_MAX_CONTROL_PDU_BYTES = 1 << 20
# Asynchronous operations are not negotiated: a peer waits for each answer (PS3.7 D.3.3.3).
_MAX_UNANSWERED = 2

Receive = Callable[["DoorAssociation", StoreRequest, int], Reception]
"""(association, request, presentation context id) -> what takes the data set."""


class _Lane(DULServiceProvider):
    """The upper layer of one association: sleeps until there is something to do."""

    def __init__(self, association: "DoorAssociation", receive: Receive, max_pdu_bytes: int) -> None:
        self._wake_lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        super().__init__(association)
        self.to_provider_queue = TellingQueue(self.wake)
        self.event_queue = TellingQueue(self.wake)
        self.to_user_queue = TellingQueue(association.news.set)
        self.last_activity_s = time.monotonic()
        self.is_reading = False
        self._news = association.news
        self._max_pdu_bytes = max_pdu_bytes
        self._stream: PduStream | None = None
        self._p_data = PDataLane(partial(receive, association), self._send_pdu, self._pass_to_pynetdicom)

    def wake(self) -> None:
        """Have the thread look at its queues."""
        with self._wake_lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self.wake()

    def run_reactor(self) -> None:
        """Run until the association has ended."""
        self.assoc._dul_ready.set()  # noqa: SLF001 (what the base class does)
        try:
            while not self._kill_thread:
                self._step()
        except Exception:  # noqa: BLE001 (the edge of the thread: whatever a peer sent must end this association alone)
            self._break_off()
        finally:
            self._p_data.broken()
            if self._stream is not None:
                self._stream.close()
            self._stream = None  # its buffer would wait for the garbage collector with the rest of the association
            with self._wake_lock:
                os.close(self._wake)
                self._wake = -1
            self._news.set()

    def _step(self) -> None:
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        if not self._process_recv_primitive():
            self._is_transport_event()
        try:
            event = self.event_queue.get(block=False)
        except queue.Empty:
            self._sleep()
        else:
            self.state_machine.do_action(event)
            if self.state_machine.current_state == _IDLE and self.assoc.requestor.primitive is None:
                # Closed before its request, for which the association else waits on.
                self.to_user_queue.put(None)  # type: ignore[arg-type]

    def _sleep(self) -> None:
        timeout_s = None if self.state_machine.current_state == _ESTABLISHED else _TIMER_TICK_S
        if self._stream is None or self.socket is None or self.socket.socket is None:
            threading.Event().wait(0.001)  # closed: the state machine's last step follows at once
        elif self._stream.wait(timeout_s)[1]:
            os.eventfd_read(self._wake)

    def _break_off(self) -> None:
        """Close the connection without the state machine, which cannot be trusted now."""
        association = self.assoc
        association.is_aborted = True
        association.is_established = False
        association._kill = True  # noqa: SLF001 (what the base class does)
        self._kill_thread = True
        evt.trigger(association, evt.EVT_ABORTED, {})

    def _is_transport_event(self) -> bool:
        """Handle what lies in the stream; return whether there was anything."""
        if self.socket is None or self.socket.socket is None:
            return False
        if self._stream is None:
            self._stream = PduStream(self.socket.socket, self._wake)
        is_closing = self.state_machine.current_state == _CLOSING
        if self._stream.wait(0)[0]:
            if is_closing:
                self._discard(self._stream)
            else:
                self._read(self._stream)
            return True
        if is_closing:
            self.socket.close()
        return is_closing

    def _discard(self, stream: PduStream) -> None:
        # What comes after an abort or a release means nothing any more, and may be out of step.
        try:
            stream.discard()
        except ConnectionClosed:
            self.event_queue.put("Evt17")

    def _read(self, stream: PduStream) -> None:
        """Read one PDU, or all of an instance: its fragments go on at once, other PDUs to the state machine."""
        # Within a PDU the time-out of the socket guards against silence, and our own time counts as none.
        self.is_reading = True
        try:
            while self._read_one(stream) and (self._p_data.is_receiving or self._has_next(stream)):
                pass
        except ConnectionClosed:
            self.event_queue.put("Evt17")
        except Exception:  # noqa: BLE001 (pynetdicom's decoders raise whatever a malformed PDU makes them)
            self.event_queue.put("Evt19")
        finally:
            if self.is_reading:
                self._rest()

    def _rest(self) -> None:
        self.last_activity_s = time.monotonic()
        self.is_reading = False

    def _has_next(self, stream: PduStream) -> bool:
        """Wait for the next PDU; return False once something else is to be done, of which `wake` tells."""
        self._rest()
        has_bytes, is_woken = stream.wait(None)
        self.is_reading = has_bytes and not is_woken
        return self.is_reading

    def _read_one(self, stream: PduStream) -> bool:
        """Read one PDU; return whether it was P-DATA, which no state machine has to see."""
        head = stream.take(6)
        kind, length = struct.unpack(">BxL", head)
        is_data = kind == _P_DATA_TF and self.state_machine.current_state == _ESTABLISHED
        if length > (self._max_pdu_bytes if is_data else _MAX_CONTROL_PDU_BYTES):
            raise Violation
        if is_data:
            self._p_data.read(stream, length)
            return True
        pdu, event = self._decode_pdu(bytearray(head + stream.take(length)))
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)
        return False

    def _send_pdu(self, pdu: bytes) -> None:
        if self.socket is None or self.socket.socket is None:
            raise ConnectionClosed
        try:
            self.socket.socket.sendall(pdu)
        except OSError:
            raise ConnectionClosed from None

    def _pass_to_pynetdicom(self, context_id: int, value: bytes) -> None:
        if self.assoc.dimse.msg_queue.qsize() > _MAX_UNANSWERED:
            raise Violation
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context_id, value]]  # type: ignore[list-item]
        self.assoc.dimse.receive_primitive(primitive)


class DoorAssociation(Association):
    """An accepted association whose thread sleeps until a message, a release or an abort is there."""

    def __init__(self, entity: AE, receive: Receive) -> None:
        self.news = threading.Event()
        self._errands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        super().__init__(entity, MODE_ACCEPTOR)
        self.dul: _Lane = _Lane(self, receive, entity.maximum_pdu_size)
        self.dimse.msg_queue = TellingQueue(self.news.set)
        # The base class gave its time-outs to the upper layer that was just replaced.
        self.acse_timeout = entity.acse_timeout
        self.network_timeout = entity.network_timeout

    @property
    def quiet_s(self) -> float:
        """Time since the peer last sent anything; 0 while a PDU is read or answered."""
        return 0.0 if self.dul.is_reading else time.monotonic() - self.dul.last_activity_s

    def run_soon(self, errand: Callable[[], object]) -> None:
        """Have the association's own thread do something between two messages, such as send a request of ours."""
        self._errands.put(errand)
        self.news.set()

    def kill(self) -> None:
        """End both threads (of the base class, without its polling)."""
        self._reactor_checkpoint.set()
        self._kill = True
        self.is_established = False
        self._is_paused = True
        self.news.set()
        while self.dul.is_alive():
            if self.dul.state_machine.current_state == _IDLE:
                self.dul.kill_dul()
            self.dul.join(0.05)

    def sever(self) -> None:
        """End the connection at once, for a peer that does not react; the upper layer sees its end and closes it."""
        connection = self.dul.socket.socket if self.dul.socket is not None else None
        if connection is not None:
            # Not SSLSocket's own shutdown, which would have the other thread read ciphertext as if it were plain.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.dul.wake()

    def run_reactor(self) -> None:
        """Serve the peer to the end; an error of pynetdicom's negotiation ends the connection as well."""
        try:
            super().run_reactor()
        except Exception:
            self.dul.kill_dul()
            raise

    def _run_reactor(self) -> None:
        while not self._kill:
            self._is_paused = True
            self.news.wait()
            self._reactor_checkpoint.wait()
            self.news.clear()
            self._run_errands()
            self._is_paused = False
            context_id, message = self.dimse.get_msg(block=False)
            if message and context_id is not None:
                self._serve_request(message, context_id)
                self.news.set()  # there may be another one
            if self.is_established and self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_released = True
                self.is_established = False
                evt.trigger(self, evt.EVT_RELEASED, {})
                self.kill()
            elif self.acse.is_aborted():
                self.dul.receive_pdu(wait=False)
                self.is_aborted = True
                self.is_established = False
                evt.trigger(self, evt.EVT_ABORTED, {})
                self.kill()
            elif not self.dul.is_alive():
                self.kill()

    def _run_errands(self) -> None:
        while not self._errands.empty():  # nobody else takes any
            self._errands.get_nowait()()


def accepted(entity: AE, connection: socket.socket, peer: tuple[str, int], receive: Receive) -> DoorAssociation:
    """Return the association of an accepted connection, not yet started; the caller binds handlers and starts it."""
    association = DoorAssociation(entity, receive)
    association.set_socket(AssociationSocket(association, client_socket=connection))
    acceptor = association.acceptor
    acceptor.maximum_length = entity.maximum_pdu_size
    acceptor.ae_title = entity.ae_title
    acceptor.address_info = AddressInformation.from_tuple(connection.getsockname()[:2])
    acceptor.implementation_class_uid = entity.implementation_class_uid
    acceptor.implementation_version_name = entity.implementation_version_name
    acceptor.supported_contexts = entity.supported_contexts
    association.requestor.address_info = AddressInformation.from_tuple(peer)
    return association
