"""The doors of the receiver: processes that share the listening sockets, each started again when it ends.

Comes from wiring.receiver, which binds nothing itself; what the doors say goes to the recorder, in order.
"""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import MsgspecError

from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.logs import get_logger
from covnode.receive.contexts import sop_class_uids
from covnode.receive.drafts import clear_incoming
from covnode.receive.tls import ReloadingServerContext
from covnode.records.arrival import DoorMessage, read_door_message
from covnode.settings import Settings
from covnode.wiring.restarts import Restarts
from covnode.wiring.stow_protection import StowProtection

DOOR_MODULE = "covnode.wiring.door"
"""What Python runs as a door."""

_BACKLOG = 256
_STOP_S = 15.0
_ORDER_S = 2
_HEAR_S = 0.01
_LINE_BYTES = 1 << 16

Hear = Callable[[str, DoorMessage | None], None]
"""(name of the door, its message or None: the door has ended)."""


def listen(bind: str, port: int, key: str) -> socket.socket:
    """Return a listening socket.

    Raises
    ------
    ConfigurationError
        The port is taken or may not be used; ``key`` names its setting.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        return socket.create_server((bind, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"nothing can listen on {bind} port {port} ({key}): {error.strerror}.") from None


@dataclass
class _Door:
    """One process and the line to it."""

    name: str
    arguments: list[str]
    descriptors: list[int]
    home: Home
    hear: Hear
    process: "subprocess.Popen[bytes] | None" = None
    line: socket.socket | None = None
    restarts: Restarts = field(default_factory=Restarts)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep_running(self, closed_because: str | None) -> None:
        """Start it, or start it again once its pause is over."""
        if self.process is not None and self.process.poll() is not None:
            pause_s = self.restarts.ended()
            get_logger().error(
                "door_ended", door=self.name, exit_code=self.process.returncode, starts_again_in_s=pause_s
            )
            clear_incoming(self.home.incoming, self.process.pid)
            self.process = None
        if self.process is None and self.restarts.is_due():
            self._start(closed_because)

    def _start(self, closed_because: str | None) -> None:
        ours, theirs = socket.socketpair()
        # A door that is stopped must not stop whoever orders it.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _ORDER_S, 0))
        command = [sys.executable, "-m", DOOR_MODULE, "--home", str(self.home.root), "--name", self.name]
        with theirs:
            descriptors = [theirs.fileno(), *self.descriptors]
            self.process = subprocess.Popen(  # noqa: S603 (our own)
                [*command, "--line", str(theirs.fileno()), *self.arguments],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
            )
        self.restarts.started()
        with self.lock:
            self.line = ours
        self.order({"closed_because": closed_because})
        threading.Thread(target=self._listen, args=(ours,), name=self.name, daemon=True).start()

    def _listen(self, line: socket.socket) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while chunk := line.recv(_LINE_BYTES):
                *messages, rest = (rest + chunk).split(b"\n")
                for message in messages:
                    self._hear(message)
                time.sleep(_HEAR_S)  # what comes meanwhile is heard together: fewer turns between the processes
        self.hear(self.name, None)

    def _hear(self, message: bytes) -> None:
        try:
            self.hear(self.name, read_door_message(message))
        except MsgspecError:
            # What it told of lies in the spool all the same, and is found by the reconciliation.
            get_logger().error("door_message_unreadable", door=self.name)

    def order(self, order: dict[str, object]) -> None:
        """Tell the door what to do; one that has ended hears it at its next start."""
        with self.lock, contextlib.suppress(OSError):
            if self.line is not None:
                self.line.sendall(json.dumps(order).encode() + b"\n")

    def stop(self) -> None:
        """End the door by ending its line; what it said before is still heard."""
        with self.lock, contextlib.suppress(OSError):
            if self.line is not None:
                self.line.shutdown(socket.SHUT_WR)
        if self.process is not None:
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Doors:
    """All doors of this receiver.

    Raises
    ------
    ConfigurationError
        A port cannot be had, STOW-RS would be open to anybody, or with these settings every door would end at once.
    """

    def __init__(self, home: Home, settings: Settings, hear: Hear) -> None:
        self._closed_because: str | None = None
        self._lock = threading.Lock()
        receive = settings.receive
        sop_class_uids(receive.sop_classes)
        self._ports: dict[str, socket.socket] = {}
        if receive.enabled:
            self._ports["plain"] = listen(receive.bind, receive.port, "receive.port")
        if settings.tls.enabled:
            ReloadingServerContext.of(settings.tls, home.root)
            self._ports["tls"] = listen(receive.bind, settings.tls.port, "tls.port")
        dicom = dict(self._ports)
        names = [f"door-{number}" for number in range(receive.processes)] if dicom else []
        self._doors = [_door(name, dicom, home, hear) for name in names]
        if settings.stow.enabled:
            StowProtection.of(settings, home.root)
            self._ports["stow"] = listen(receive.bind, settings.stow.port, "stow.port")
            self._doors.append(_door("door-stow", {"stow": self._ports["stow"]}, home, hear))

    @property
    def ports(self) -> dict[str, int]:
        """The port in use of each kind (the one that the system chose where the settings say 0)."""
        return {kind: int(listener.getsockname()[1]) for kind, listener in self._ports.items()}

    def keep_running(self) -> None:
        """Start whatever does not run."""
        for door in self._doors:
            with self._lock:  # so that no order falls between the start of a door and what it is told first
                door.keep_running(self._closed_because)

    def close(self, because: str | None) -> None:
        """Have nothing taken, with the reason; None opens again."""
        with self._lock:
            if because == self._closed_because:
                return
            self._closed_because = because
            for door in self._doors:
                door.order({"closed_because": because})
        if because:
            get_logger().error("gate_closed", reason=because)
        else:
            get_logger().info("gate_open")

    def report_on_same(self, association_id: str, file_name: str) -> bool:
        """Ask the door of an association to give a storage commitment report on it; return whether there is one."""
        for door in self._doors:
            if association_id.startswith(f"{door.name}-"):
                door.order({"report": {"association_id": association_id, "file_name": file_name}})
                return True
        return False

    def stop(self) -> None:
        """End all doors; what is open is aborted."""
        stoppers = [threading.Thread(target=door.stop) for door in self._doors]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()


def _door(name: str, ports: dict[str, socket.socket], home: Home, hear: Hear) -> _Door:
    arguments = [word for kind, listener in ports.items() for word in (f"--{kind}", str(listener.fileno()))]
    return _Door(name, arguments, [listener.fileno() for listener in ports.values()], home, hear)
