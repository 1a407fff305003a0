"""The DICOM SCP of one process: C-ECHO, C-STORE and storage commitment on sockets that other processes share.

Comes from the modality; goes to the spool. pynetdicom negotiates and speaks all but C-STORE; nothing here decodes a
data set.
"""

import contextlib
import itertools
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from pynetdicom import AE, evt

from covnode.dicom.dimse import STORAGE_COMMITMENT, VERIFICATION
from covnode.logs import get_logger
from covnode.receive.admission import Admission, Rejection
from covnode.receive.contexts import sop_class_uids, transfer_syntaxes
from covnode.receive.p_data import Reception
from covnode.receive.reception import AssociationCounts, InstanceReception, StoreDesk
from covnode.receive.slots import Slot
from covnode.receive.store_commands import StoreRequest
from covnode.receive.upper_layer import DoorAssociation, accepted
from covnode.records.arrival import Ended
from covnode.settings import ReceiveSettings

_REFUSED = Rejection(2, 2, 1, "no-reason-given")
_HANDSHAKE_S = 10.0
# Connections that have not asked for an association yet: so many for each that may be open.
_CONNECTIONS_PER_ASSOCIATION = 4
_WATCH_S = 1.0
_YIELD_S = 0.002
_ABORT_GRACE_S = 5.0

ServerContext = Callable[[], ssl.SSLContext]
"""Gives the TLS context for the next connection; a renewed certificate makes a new one."""


def _limit_silence(connection: socket.socket, seconds: float) -> None:
    """Have every wait on a connection end after ``seconds``."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    # By the kernel: Python's own time-out asks it before each read whether there is anything to read.
    connection.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000)))


@dataclass
class _Visit:
    """One association from its acceptance to its end."""

    association_id: str
    address: str
    tls: bool
    began_s: float = field(default_factory=time.monotonic)
    calling: str = ""
    slot: Slot | None = None
    counts: AssociationCounts = field(default_factory=AssociationCounts)
    # By presentation context id and SOP class.
    syntaxes: dict[tuple[int | None, str], str] = field(default_factory=dict)
    how: str = "broken off"
    abort_at_s: float | None = None


class StorageScp:
    """Accepts associations in this process.

    Parameters
    ----------
    name
        Of this process; the ids of its associations begin with it.
    on_commitment
        Answers the N-ACTION of storage commitment; None: the service is off.
    """

    def __init__(
        self,
        name: str,
        ae_title: str,
        settings: ReceiveSettings,
        desk: StoreDesk,
        admission: Admission,
        on_commitment: Callable[[evt.Event], object] | None = None,
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._admission = admission
        self._on_commitment = on_commitment
        self._numbers = itertools.count(1)
        self._prefix = f"{name}-{os.getpid()}"
        self._visits: dict[DoorAssociation, _Visit] = {}
        self._room = threading.Semaphore(settings.max_associations * _CONNECTIONS_PER_ASSOCIATION)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._entity = self._make_entity(ae_title)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _make_entity(self, ae_title: str) -> AE:
        settings = self._settings
        entity = AE(ae_title=ae_title)
        # Admission counts associations over all processes; pynetdicom's own limit is never reached.
        entity.maximum_associations = settings.max_associations + 1000
        entity.network_timeout = settings.network_timeout_s
        entity.maximum_pdu_size = settings.max_pdu_bytes
        for sop_class in sop_class_uids(settings.sop_classes):
            entity.add_supported_context(sop_class, transfer_syntaxes(settings.transfer_syntaxes))
        entity.add_supported_context(VERIFICATION)
        if self._on_commitment is not None:
            entity.add_supported_context(STORAGE_COMMITMENT)
        return entity

    def serve(self, listener: socket.socket, tls: ServerContext | None = None) -> None:
        """Accept connections of ``listener`` in a thread of its own; other processes may accept them too."""
        # Whoever is woken second finds the connection gone: accept must not block then.
        listener.settimeout(0)
        threading.Thread(target=self._accept, args=(listener, tls), name="accept", daemon=True).start()

    def stop(self, grace_s: float) -> None:
        """Accept no more and abort what is open."""
        os.eventfd_write(self._stop, 1)
        for association in list(self._visits):
            association.abort(block=False)
        deadline_s = time.monotonic() + grace_s
        for association in list(self._visits):
            association.join(max(0.0, deadline_s - time.monotonic()))

    def association_id(self, association: object) -> str:
        """Return our id of an association of this process."""
        visit = self._visits.get(cast("DoorAssociation", association))
        return visit.association_id if visit else ""

    def open_association(self, association_id: str) -> DoorAssociation | None:
        """Return the association of that id while it is established."""
        for association, visit in list(self._visits.items()):
            if visit.association_id == association_id and association.is_established:
                return association
        return None

    def _accept(self, listener: socket.socket, tls: ServerContext | None) -> None:
        poller = select.poll()
        poller.register(self._stop, select.POLLIN)
        poller.register(listener, select.POLLIN)
        while not any(descriptor == self._stop for descriptor, _ in poller.poll()):
            # Whoever serves fewer accepts first: the load spreads over the processes.
            time.sleep(_YIELD_S * len(self._visits))
            try:
                connection, peer = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                # No descriptor is left: whoever waits is served when one is free again.
                get_logger().error("connection_not_accepted", error=error.strerror)
                time.sleep(_WATCH_S)
                continue
            try:
                self._welcome(connection, peer[:2], tls)
            except Exception as error:  # noqa: BLE001 (the edge of the thread: this connection alone is lost)
                get_logger().error("connection_failed", address=peer[0], error=type(error).__name__)
                connection.close()
        # The next receiver binds the port as soon as this one is gone.
        listener.close()

    def _welcome(self, connection: socket.socket, peer: tuple[str, int], tls: ServerContext | None) -> None:
        if not self._admission.admit_address(peer[0]):
            connection.close()
        elif not self._room.acquire(blocking=False):
            get_logger().warning("too_many_connections", address=peer[0])
            connection.close()
        else:
            try:
                threading.Thread(target=self._serve_one, args=(connection, peer, tls), daemon=True).start()
            except RuntimeError:  # no thread can be had now
                self._room.release()
                raise

    def _serve_one(self, connection: socket.socket, peer: tuple[str, int], tls: ServerContext | None) -> None:
        association: DoorAssociation | None = None
        try:
            association = self._begin(connection, peer, tls)
            if association is not None:
                association.start()
                association.join()
                self._ended(association)
        except Exception as error:  # noqa: BLE001 (the edge of the thread: this connection alone is lost)
            if association is not None:
                self._visits.pop(association, None)
            get_logger().error("connection_failed", address=peer[0], error=type(error).__name__)
            connection.close()
        finally:
            self._room.release()

    def _begin(
        self, connection: socket.socket, peer: tuple[str, int], tls: ServerContext | None
    ) -> DoorAssociation | None:
        visit = _Visit(f"{self._prefix}-{next(self._numbers)}", peer[0], tls=tls is not None)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(_HANDSHAKE_S)
            if tls is not None:
                connection = tls().wrap_socket(connection, server_side=True)
            _limit_silence(connection, self._settings.network_timeout_s)
            association = accepted(self._entity, connection, peer, self._receive)
        except OSError as error:
            get_logger().warning("connection_refused", address=peer[0], tls=visit.tls, error=type(error).__name__)
            connection.close()
            return None
        for event, handler in (
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_RELEASED, self._on_released),
            (evt.EVT_ABORTED, self._on_aborted),
        ):
            association.bind(event, handler)
        if self._on_commitment is not None:
            association.bind(evt.EVT_N_ACTION, self._on_commitment)
        self._visits[association] = visit
        return association

    def _receive(self, association: DoorAssociation, request: StoreRequest, context_id: int) -> Reception:
        visit = self._visits[association]
        if not visit.syntaxes:
            for context in association.accepted_contexts:
                visit.syntaxes[context.context_id, str(context.abstract_syntax)] = str(context.transfer_syntax[0])
        syntax = visit.syntaxes.get((context_id, request.sop_class_uid))
        return InstanceReception(self._desk, visit.association_id, visit.counts, request, syntax, visit.calling)

    def _on_requested(self, event: evt.Event) -> None:
        association = cast("DoorAssociation", event.assoc)
        visit = self._visits[association]
        request: Any = association.requestor.primitive
        answer: Slot | Rejection = _REFUSED
        # pynetdicom swallows what a handler raises, and would then let the peer in.
        with contextlib.suppress(Exception):
            visit.calling = str(request.calling_ae_title).strip()
            context = str(request.application_context_name)
            answer = self._admission.admit(str(request.called_ae_title), visit.calling, visit.address, context)
        if isinstance(answer, Rejection):
            association.acse.send_reject(answer.result, answer.source, answer.reason)
            association.is_rejected = True
            visit.how = "rejected"
            association.kill()
        else:
            visit.slot = answer

    def _on_released(self, event: evt.Event) -> None:
        self._visits[cast("DoorAssociation", event.assoc)].how = "released"

    def _on_aborted(self, event: evt.Event) -> None:
        self._visits[cast("DoorAssociation", event.assoc)].how = "aborted"

    def _ended(self, association: DoorAssociation) -> None:
        visit = self._visits.pop(association)
        if not self._visits:
            self._desk.spool.drafts.tidy()
        if visit.slot is not None:
            visit.slot.release()
            self._desk.tell(Ended(visit.association_id, released=visit.how == "released"))
        seconds = time.monotonic() - visit.began_s
        get_logger().info(
            "association_ended",
            association_id=visit.association_id,
            calling=visit.calling,
            address=visit.address,
            tls=visit.tls,
            how=visit.how,
            instances=visit.counts.instances,
            refused=dict(visit.counts.refused),
            size_bytes=visit.counts.size_bytes,
            seconds=round(seconds, 3),
        )

    def _watch(self) -> None:
        """Abort what is silent or open for too long, and close what does not react to that."""
        while True:
            time.sleep(_WATCH_S)
            for association, visit in list(self._visits.items()):
                try:
                    self._look_at(association, visit, time.monotonic())
                except Exception as error:  # noqa: BLE001 (the edge of the thread: the watch goes on)
                    get_logger().error("watchdog_failed", error=type(error).__name__)

    def _look_at(self, association: DoorAssociation, visit: _Visit, now_s: float) -> None:
        settings = self._settings
        if visit.abort_at_s is not None:
            if now_s - visit.abort_at_s > _ABORT_GRACE_S:
                association.sever()
        elif association.quiet_s > settings.network_timeout_s or now_s - visit.began_s > settings.association_timeout_s:
            visit.abort_at_s = now_s
            get_logger().warning("association_timed_out", association_id=visit.association_id)
            association.abort(block=False)
