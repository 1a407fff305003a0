"""A door: one process that takes instances in, by DICOM or by STOW-RS, and tells the receiver of them.

Started by wiring.doors with the listening sockets and one end of a line; ends when the receiver does. It knows keyed
digests and the spool; it opens no database and no vault.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from covnode.deidentify import key_file
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.logs import configure_logs, get_logger
from covnode.receive.admission import Admission, AdmissionRules
from covnode.receive.commitment import CommitmentScp
from covnode.receive.gate import Gate
from covnode.receive.reception import StoreDesk
from covnode.receive.scp import StorageScp
from covnode.receive.slots import AssociationSlots
from covnode.receive.spool import Spool
from covnode.receive.tls import ReloadingServerContext
from covnode.records.arrival import DoorMessage, write_door_message
from covnode.settings import Settings, load_settings
from covnode.wiring.stow_protection import StowProtection

_GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_TLS_AGAIN_S = 5.0


class Line:
    """The line to the receiver: JSON, one message a line, both ways."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def tell(self, message: DoorMessage) -> None:
        """Tell the receiver.

        Raises
        ------
        OSError
            It is gone; so is this process in a moment.
        """
        line = write_door_message(message) + b"\n"
        with self._lock:
            self._connection.sendall(line)

    def orders(self, gate: Gate, dicom: "_DicomDoor | None") -> None:
        """Do what the receiver says until it is gone."""
        # A receiver that was killed may leave the line reset, and half an order on it.
        with contextlib.suppress(OSError, ValueError), self._connection.makefile("rb") as lines:
            for line in lines:
                order = json.loads(line)
                if "closed_because" in order:
                    gate.told = order["closed_because"]
                elif dicom is not None:
                    dicom.report(order["report"]["association_id"], order["report"]["file_name"])


class _DicomDoor:
    """C-STORE, C-ECHO and storage commitment."""

    def __init__(self, name: str, home: Home, settings: Settings, desk: StoreDesk) -> None:
        receive = settings.receive
        slots = AssociationSlots(
            home.associations, limit=receive.max_associations, per_peer=receive.max_associations_per_peer
        )
        admission = Admission(AdmissionRules.of(settings.node, receive), desk.gate, slots)
        self._commitment = CommitmentScp(
            home.commitments,
            desk.spool.drafts,
            desk.tell,
            self._id_of,
            desk.gate.closed_because,
        )
        on_action = self._commitment.on_action if settings.commitment.enabled else None
        self.scp = StorageScp(name, settings.node.ae_title, receive, desk, admission, on_action)

    def _id_of(self, association: object) -> str:
        return self.scp.association_id(association)

    def report(self, association_id: str, file_name: str) -> None:
        """Give a storage commitment report on the association that asked for it, while it is open."""
        association = self.scp.open_association(association_id)
        if association is not None:
            association.run_soon(lambda: self._commitment.report_on_same(association, file_name))


def main() -> None:
    """Run one door until the receiver is gone."""
    parser = argparse.ArgumentParser(prog="covnode.wiring.door")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--name", required=True)
    for descriptor in ("line", "plain", "tls", "stow"):
        parser.add_argument(f"--{descriptor}", type=int)
    given = parser.parse_args()
    # Ctrl-C and systemd signal all processes at once; a door ends when its line does, after the receiver.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_with_parent()
    os.umask(0o077)
    home = Home(given.home)
    settings = load_settings(home)
    home = home.with_files(settings.files.folder)
    configure_logs(settings.node.log_level, given.name)
    line = Line(socket.socket(fileno=given.line))
    gate = Gate(home.spool, settings.receive.min_free_gb)
    spool = Spool(home.spool, home.incoming, key_file.load(home.keys).digest)
    desk = StoreDesk(spool, gate, line.tell)
    if given.stow is not None:
        _run_stow(home, settings, desk, line, socket.socket(fileno=given.stow))
        return
    dicom = _DicomDoor(given.name, home, settings, desk)
    if given.plain is not None:
        dicom.scp.serve(socket.socket(fileno=given.plain))
    if given.tls is not None:
        _serve_tls(dicom.scp, socket.socket(fileno=given.tls), home, settings)
    # What was loaded stays: the garbage collector need not look at it again.
    gc.freeze()
    get_logger().info("door_open", pid=os.getpid())
    line.orders(gate, dicom)
    dicom.scp.stop(_GRACE_S)
    # Not an orderly exit, which would wait for the threads of peers that do not react.
    os._exit(0)


def _serve_tls(scp: StorageScp, listener: socket.socket, home: Home, settings: Settings) -> None:
    """Serve with TLS, later where its files are broken now: they were well when the receiver started."""
    try:
        context = ReloadingServerContext.of(settings.tls, home.root).context
    except ConfigurationError as error:
        get_logger().error("tls_files_broken", kept="nothing: without TLS only", reason=str(error))
        again = threading.Timer(_TLS_AGAIN_S, _serve_tls, (scp, listener, home, settings))
        again.daemon = True
        again.start()
    else:
        scp.serve(listener, context)


def _end_with_parent() -> None:
    """Have the kernel end this process when the receiver is killed: even stopped, it would hold the ports."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _run_stow(home: Home, settings: Settings, desk: StoreDesk, line: Line, listener: socket.socket) -> None:
    from covnode.wiring.stow_door import StowDoor  # noqa: PLC0415 (only this door needs a web server)

    stopping = threading.Event()

    def follow_orders() -> None:
        line.orders(desk.gate, None)
        stopping.set()

    threading.Thread(target=follow_orders, daemon=True).start()
    get_logger().info("door_open", pid=os.getpid())
    protection = StowProtection.of(settings, home.root)
    StowDoor(settings, protection, desk.spool, desk.gate, desk.tell).run(listener, stopping)


if __name__ == "__main__":
    main()
