"""The door of STOW-RS: a web server on a socket that the receiver has bound, in a process of its own.

Comes from the receiver's door process; hands what comes in to receive. It keeps no log of requests beside our own, for
the paths of DICOMweb hold UIDs.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from covnode.logs import get_logger
from covnode.receive.admission import AdmissionRules
from covnode.receive.contexts import sop_class_uids
from covnode.receive.gate import Gate
from covnode.receive.spool import Spool
from covnode.receive.stow import StowAdmission, StowLimits, StowService
from covnode.receive.stow_upload import TakenInstances, UploadStage
from covnode.receive.tls import ReloadingServerContext
from covnode.records.arrival import DoorMessage
from covnode.settings import Settings
from covnode.wiring.stow_protection import StowProtection, is_loopback

_STOP_S = 5
_KEEP_ALIVE_S = 30
_CONNECTIONS_PER_REQUEST = 16
_MB = 1_000_000


@dataclass(frozen=True)
class StowDoor:
    """STOW-RS on one listening socket.

    Attributes
    ----------
    tell
        Passes a message to the receiver; called from several threads at a time.
    """

    settings: Settings
    protection: StowProtection
    spool: Spool
    gate: Gate
    tell: Callable[[DoorMessage], None]

    def run(self, listening_socket: socket.socket, stopping: threading.Event) -> None:
        """Serve until ``stopping`` is set; what is under way then has a few seconds left."""
        server = _Server(self._config())
        threading.Thread(target=_stop_with, args=(server, stopping), daemon=True).start()
        if self.protection.tls is None and not is_loopback(self.settings.receive.bind):
            get_logger().warning("stow_without_tls", way_out="set stow.tls to true")
        server.run(sockets=[listening_socket])

    def _config(self) -> Config:
        tls = self.protection.tls
        protocol = partial(_Connection, silence_s=self.settings.receive.network_timeout_s)
        return Config(
            self._service().application(),
            http=cast("type[asyncio.Protocol]", protocol),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # The address in X-Forwarded-For is whatever a sender writes there.
            proxy_headers=False,
            limit_concurrency=self.settings.stow.max_requests * _CONNECTIONS_PER_REQUEST,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_S,
            ssl_context_factory=None if tls is None else lambda _config, _default: _FreshContext.of(tls),
        )

    def _service(self) -> StowService:
        receive, stow = self.settings.receive, self.settings.stow
        taken = TakenInstances(
            sop_classes=frozenset(sop_class_uids(receive.sop_classes)),
            transfer_syntaxes=frozenset(receive.transfer_syntaxes),
            max_bytes=int(stow.max_instance_mb * _MB),
        )
        return StowService(
            UploadStage(self.spool, self.gate, self.tell, taken),
            StowAdmission(AdmissionRules.of(self.settings.node, receive).allow, self.protection.source_of),
            StowLimits(stow.max_requests, receive.network_timeout_s, receive.association_timeout_s),
        )


class _Server(Server):
    """A server that leaves the signals to the door."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """A connection that is closed when it holds a place and no request for long."""

    def __init__(self, *, silence_s: float, **arguments: Any) -> None:  # noqa: ANN401 (whatever the server passes)
        super().__init__(**arguments)
        self._silence_s = silence_s
        self._seen: object = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the server has it
        super().connection_made(transport)
        self._watch = self.loop.call_later(self._silence_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        cycle = self.cycle
        if cycle is self._seen and (cycle is None or cycle.response_complete):
            self.transport.abort()
            return
        self._seen = cycle
        self._watch = self.loop.call_later(self._silence_s, self._look)


class _FreshContext(ssl.SSLContext):
    """The context that the server keeps: each connection gets the one of the certificate as it is then."""

    _source: ReloadingServerContext

    @classmethod
    def of(cls, source: ReloadingServerContext) -> "_FreshContext":
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._source = source
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401 (passed on)
        return self._source.context().wrap_bio(*arguments, **options)


def _stop_with(server: Server, stopping: threading.Event) -> None:
    stopping.wait()
    server.should_exit = True
